#!/usr/bin/env python3
"""svmd under a service manager that this test plays: sockets that were opened for it, and what it tells.

    test_manager.py BUILD
"""
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

PATIENCE = 30
BUILD = ""


class Manager:
    """A folder, a notify socket, and svmd with what it is given."""

    def __init__(self, watchdog_us=None):
        self.folder = tempfile.mkdtemp(prefix="svmd-manager-")
        os.mkdir(self.file("run"), 0o755)
        with open(self.file("svmd.conf"), "w", encoding="ascii"):
            pass
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.file("notify"))
        self.notify.settimeout(PATIENCE)
        self.watchdog_us, self.process, self.given = watchdog_us, None, []

    def file(self, *names):
        return os.path.join(self.folder, *names)

    def listen(self, name, kind=socket.SOCK_SEQPACKET):
        s = socket.socket(socket.AF_UNIX, kind)
        s.bind(self.file("run", name))
        s.listen()
        self.given.append(s)

    def start(self):
        environment = dict(os.environ, NOTIFY_SOCKET=self.file("notify"))
        if self.watchdog_us:
            environment["WATCHDOG_USEC"] = str(self.watchdog_us)
        # Descriptors from 3 on, and LISTEN_PID of the process itself, as systemd does it.
        moves = " ".join(f"{3 + i}<&{s.fileno()}" for i, s in enumerate(self.given))
        command = ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS={len(self.given)}; exec "$@" {moves}', "-",
                   os.path.join(BUILD, "svmd"), "--config", self.file("svmd.conf"), "--runtime-dir", self.file("run"),
                   "--state-dir", self.file("state"), "--host-capacity", "64M"]
        with open(self.file("log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            pass_fds=[s.fileno() for s in self.given])
        return self

    def hear(self, what):
        """The next message that says `what`."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.notify.recv(4096).decode()
            if what in text.splitlines() or any(line.startswith(what) for line in text.splitlines()):
                return text
        raise AssertionError(f"svmd does not say {what}:\n{self.log()}")

    def log(self):
        with open(self.file("log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def ask(self, *words):
        return subprocess.run([os.path.join(BUILD, "svmd-ctl"), "--socket", self.file("run", "svmd.sock"), *words],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def end(self):
        if self.process.poll() is None:
            self.stop(signal.SIGINT)
        for s in self.given:
            s.close()
        self.notify.close()
        subprocess.run(["pkill", "-f", f"svmd-keeper .*{self.folder}"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Notify(unittest.TestCase):
    def test_ready_and_stopping(self):
        m = Manager().start()
        self.addCleanup(m.end)
        text = m.hear("READY=1")
        self.assertIn("STATUS=", text)
        self.assertEqual(m.stop(), 0)
        m.hear("STOPPING=1")

    def test_watchdog(self):
        """Told in time as long as the loop turns, and no more when it does not."""
        m = Manager(watchdog_us=400_000).start()
        self.addCleanup(m.end)
        m.hear("READY=1")
        for _ in range(3):
            m.hear("WATCHDOG=1")
        m.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        m.notify.setblocking(False)
        try:
            while m.notify.recv(4096):
                pass
        except BlockingIOError:
            pass
        m.notify.settimeout(1)
        with self.assertRaises(TimeoutError):
            m.notify.recv(4096)
        m.notify.settimeout(PATIENCE)
        m.process.send_signal(signal.SIGCONT)
        m.hear("WATCHDOG=1")


class Reload(unittest.TestCase):
    def setUp(self):
        self.m = Manager()
        self.m.listen("admin.sock")
        self.write("policy = latency")
        self.m.start()
        self.addCleanup(self.m.end)
        self.m.hear("READY=1")

    def write(self, *lines):
        with open(self.m.file("svmd.conf"), "w", encoding="ascii") as f:
            f.write("\n".join(("[svmd]",) + lines) + "\n")

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "svmd-ctl"), "--socket", self.m.file("run", "admin.sock"), *words],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)

    def settings(self):
        done = self.ctl("policy", "show", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return {(s["setting"], s.get("partition") or s.get("node")): s for s in json.loads(done.stdout)}

    def test_asked(self):
        """Who asks is told what changed and what could not; the manager, when it begins and when it is done."""
        self.write("policy = throughput", "link-rate = *:*=1G", "journal-size = 32M")
        done = self.ctl("reload")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "Changed: policy, link-rate\nNeeds a restart of svmd to change: journal-size\n", ""))
        self.m.hear("RELOADING=1")
        self.m.hear("READY=1")
        self.assertEqual(self.settings()["policy", None]["policy"], "throughput")
        self.assertEqual(self.settings()["link-rate", "*"]["rate"], 1 << 30)
        done = self.ctl("reload", "--json")
        self.assertEqual(json.loads(done.stdout), {"changed": [], "needs_restart": ["journal-size"]})

    def test_wrong(self):
        """A file with a mistake changes nothing, and who asks is told where it is."""
        self.write("policy = throughput", "max-sessions = many")
        done = self.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("svmd.conf:3: max-sessions: expected a number", done.stderr)
        self.m.hear("RELOADING=1")
        self.m.hear("READY=1")
        self.assertEqual(self.settings()["policy", None]["policy"], "latency")
        self.assertIn("svmd.conf:3: max-sessions: expected a number", self.m.log())

    def test_signal(self):
        self.write("policy = pinned", "log-level = debug")
        self.m.process.send_signal(signal.SIGHUP)
        self.m.hear("RELOADING=1")
        self.m.hear("READY=1")
        self.assertEqual(self.settings()["policy", None]["policy"], "pinned")
        self.assertIn("changed: policy, log-level", self.m.log())

    def test_set_and_killed(self):
        """What was set outlives svmd, and goes over what the configuration says."""
        done = self.ctl("policy", "set", "policy=pinned", "partition-rate=*=5M")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.m.stop(signal.SIGKILL), -signal.SIGKILL)
        self.write("policy = throughput")
        self.m.start()
        self.m.hear("READY=1")
        now = self.settings()
        self.assertEqual((now["policy", None]["policy"], now["policy", None]["set"]), ("pinned", True))
        self.assertEqual(now["partition-rate", "*"]["rate"], 5 << 20)
        self.assertEqual(self.ctl("policy", "unset", "policy", "partition-rate=*").returncode, 0)
        self.assertEqual(self.settings()["policy", None]["policy"], "throughput")


class Keeper(unittest.TestCase):
    """The keeper's socket is the manager's, which starts a keeper for who connects."""

    def keep(self):
        s = self.listener
        command = ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{s.fileno()}', "-",
                   os.path.join(BUILD, "svmd-keeper"), "--runtime-dir", self.m.file("run")]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[s.fileno()])

    def test_given(self):
        self.m = m = Manager()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.listener.close)
        self.listener.bind(m.file("run", "keeper.sock"))
        self.listener.listen()
        m.start()
        self.addCleanup(m.end)
        first = self.keep()
        m.hear("READY=1")
        first.kill()
        first.wait(PATIENCE)
        self.assertTrue(select.select([self.listener], [], [], PATIENCE)[0], "svmd does not connect again")
        second = self.keep()
        self.addCleanup(second.kill)
        end = time.monotonic() + PATIENCE
        while "another svmd-keeper holds" not in m.log():
            self.assertLess(time.monotonic(), end, m.log())
            time.sleep(0.01)
        # Sessions' memory outlives svmd in it, and svmd has started none itself.
        self.assertFalse(os.path.exists(m.file("run", "keeper.log")))
        self.assertEqual(m.stop(signal.SIGKILL), -signal.SIGKILL)
        m.start()
        m.hear("READY=1")
        self.assertIn("epoch 2", m.log())
        self.assertIsNone(second.poll())
        m.stop(signal.SIGINT)
        self.assertEqual(second.wait(PATIENCE), 0)
        self.assertTrue(stat.S_ISSOCK(os.stat(m.file("run", "keeper.sock")).st_mode), "the manager's socket is gone")


class Sockets(unittest.TestCase):
    def test_given(self):
        """svmd listens at what it was given, whose files stay when it ends; who connected before it came is served."""
        m = Manager()
        m.listen("svmd.sock")
        m.listen("admin.sock")
        before = os.stat(m.file("run", "svmd.sock")).st_ino
        early = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        early.connect(m.file("run", "svmd.sock"))
        early.send(bytes([0x08, 0x01, 0x1A, 0x02, 0x0A, 0x00]))
        m.start()
        self.addCleanup(m.end)
        m.hear("READY=1")
        early.settimeout(PATIENCE)
        self.assertTrue(early.recv(4096))
        early.close()
        self.assertEqual(m.ask("node", "list").returncode, 0)
        self.assertEqual(os.stat(m.file("run", "svmd.sock")).st_ino, before)
        m.stop(signal.SIGINT)
        for name in ("svmd.sock", "admin.sock"):
            self.assertTrue(stat.S_ISSOCK(os.stat(m.file("run", name)).st_mode), name)

    def test_given_again(self):
        """After a stop that keeps everything, a new socket of the manager counts, and not the one that was kept."""
        m = Manager()
        m.listen("svmd.sock")
        m.start()
        self.addCleanup(m.end)
        m.hear("READY=1")
        m.stop(signal.SIGTERM)
        m.given.pop().close()
        os.unlink(m.file("run", "svmd.sock"))
        m.listen("svmd.sock")
        m.start()
        m.hear("READY=1")
        self.assertEqual(m.ask("node", "list").returncode, 0)

    def test_wrong(self):
        """What is no socket of ours is closed with a warning, and svmd opens its own."""
        m = Manager()
        m.listen("other", socket.SOCK_STREAM)
        m.start()
        self.addCleanup(m.end)
        m.hear("READY=1")
        self.assertIn("is no socket that svmd can use", m.log())
        self.assertEqual(m.ask("node", "list").returncode, 0)


if __name__ == "__main__":
    BUILD = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
