#!/usr/bin/env python3
"""What administrators look for in the journal: numbers and catalogue agree, and journald is told.

    test_messages.py BUILD
"""
import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

PATIENCE = 30
BUILD = ""
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CATALOG = os.path.join(ROOT, "systemd", "svmd.catalog")


def messages():
    """Name to number, as the daemon has them."""
    with open(os.path.join(ROOT, "daemon", "base", "message.h"), encoding="ascii") as file:
        return dict(re.findall(r'X\((\w+), LOG_\w+, "([0-9a-f]+)"\)', file.read()))


def source():
    """All code that says messages."""
    for folder, _, names in os.walk(os.path.join(ROOT, "daemon")):
        for name in names:
            if name.endswith((".c", ".h")):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    yield file.read()


class Catalog(unittest.TestCase):
    def setUp(self):
        with open(CATALOG, encoding="ascii") as file:
            self.text = file.read()
        self.entries = dict(re.findall(r"^-- ([0-9a-f]+)\n(.*?)(?=^-- |\Z)", self.text, re.M | re.S))

    def test_same_numbers(self):
        self.assertGreater(len(messages()), 10)
        self.assertEqual(sorted(messages().values()), sorted(self.entries))

    def test_entries(self):
        """Each has its subject and a text for people, and names only fields that the message has."""
        code = "\n".join(source())
        for name, number in messages().items():
            entry = self.entries[number]
            self.assertRegex(entry, r"\ASubject: \S.*\nDefined-By: svmd\nDocumentation: man:\S.*\n\n\S", name)
            uses = re.findall(rf"MESSAGE_{name}\b(.{{0,1200}})", code, re.S)
            self.assertTrue(uses, f"nobody says {name}")
            for field in re.findall(r"@(\w+)@", entry):
                self.assertTrue(any(f'"{field}"' in use for use in uses), f"{name} has no field {field}")

    def test_journalctl_takes_it(self):
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, "usr", "lib", "systemd", "catalog")
            os.makedirs(folder)
            os.makedirs(os.path.join(root, "var", "lib", "systemd", "catalog"))
            with open(os.path.join(folder, "svmd.catalog"), "w", encoding="ascii") as file:
                file.write(self.text)
            command = ["journalctl", f"--root={root}"]
            made = subprocess.run([*command, "--update-catalog"], capture_output=True, text=True, timeout=PATIENCE,
                                  check=False)
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            listed = subprocess.run([*command, "--list-catalog"], capture_output=True, text=True, timeout=PATIENCE,
                                    check=True).stdout
            self.assertEqual(len(listed.splitlines()), len(self.entries))


def parse(packet):
    """Fields of a message in journald's protocol."""
    fields, rest = {}, packet
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    """A journald of the test's own, in a mount namespace that nobody else sees, and svmd that writes to it."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 0x44000, None):
            raise OSError(ctypes.get_errno(), "a mount namespace needs root")
        os.makedirs("/run/systemd/journal", exist_ok=True)
        if libc.mount(b"tmpfs", b"/run/systemd/journal", b"tmpfs", 0, None):
            raise OSError(ctypes.get_errno(), "mount")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/run/systemd/journal/socket")
        self.socket.settimeout(PATIENCE)
        self.folder = tempfile.mkdtemp(prefix="svmd-journal-")
        self.lines, self.stream = socket.socketpair()
        self.process = None

    def start(self, stream=True):
        where = os.fstat(self.stream.fileno())
        environment = dict(os.environ)
        environment["JOURNAL_STREAM"] = f"{where.st_dev}:{where.st_ino if stream else where.st_ino + 1}"
        with open(os.path.join(self.folder, "svmd.conf"), "w", encoding="ascii"):
            pass
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "svmd"), "--config", os.path.join(self.folder, "svmd.conf"), "--runtime-dir",
             os.path.join(self.folder, "run"), "--state-dir", os.path.join(self.folder, "state"), "--host-capacity",
             "64M"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.stream, env=environment)

    def hear(self, name):
        number = messages()[name]
        while True:
            fields = parse(self.socket.recv(65536))
            if fields.get("MESSAGE_ID") == number:
                return fields

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "svmd-ctl"), "--socket",
                               os.path.join(self.folder, "run", "admin.sock"), *words], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def end(self):
        self.stop(signal.SIGINT)
        for s in (self.socket, self.lines, self.stream):
            s.close()
        subprocess.run(["pkill", "-f", f"svmd-keeper .*{self.folder}"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Journald(unittest.TestCase):
    def test_messages(self):
        """Who administered, and what became of svmd, with fields; where it is not journald's, as text."""
        j = Journal()
        j.start()
        self.addCleanup(j.end)
        started = j.hear("STARTED")
        self.assertEqual(started["PRIORITY"], "6")
        self.assertEqual(started["SVMD_EPOCH"], "1")
        made = j.ctl("partition", "create", "train", "--size", "4G", "--owner", "7")
        self.assertEqual(made.returncode, 0, made.stderr)
        changed = j.hear("CHANGED")
        self.assertEqual(changed["SVMD_OPERATION"], "partition_create")
        self.assertIn('name="train"', changed["SVMD_ARGUMENTS"])
        self.assertEqual(changed["SVMD_ASKER_COMM"], "svmd-ctl")
        self.assertEqual(changed["SVMD_ASKER_UID"], str(os.getuid()))
        self.assertTrue(changed["SVMD_ASKER_CGROUP"].startswith("/"), changed["SVMD_ASKER_CGROUP"])
        self.assertIn("partition_create", changed["MESSAGE"])
        j.stop(signal.SIGKILL)
        j.start()
        self.assertEqual(j.hear("RESTORED")["SVMD_EPOCH"], "2")
        j.stop(signal.SIGTERM)
        j.lines.settimeout(PATIENCE)
        j.lines.recv(1 << 20)
        j.start(stream=False)
        text = b""
        while b"version" not in text:
            text += j.lines.recv(65536)
        j.ctl("partition", "delete", "train")
        while b"partition_delete" not in text:
            text += j.lines.recv(65536)
        self.assertIn(b"asked by svmd-ctl", text)


if __name__ == "__main__":
    BUILD = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
