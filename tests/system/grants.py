#!/usr/bin/env python3
"""What `svmd-ctl doctor` says of the kernel is what the kernel does: each grant is tried here once more, by other means.

    grants.py BUILD [--lacking NAME...]   and exactly these are not granted
"""
import argparse
import ctypes
import fcntl
import json
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = 4096
NEW, API, REGISTER, CONTINUE, POISON = 0xAA00, 0xC018AA3F, 0xC020AA00, 0xC020AA07, 0xC020AA08
MISSING_MODE, WP_MODE, MINOR_MODE = 1, 2, 4
PROTECT = 2  # of CONTINUE
BITS = {  # of UFFDIO_API, from the kernel's include/uapi/linux/userfaultfd.h
    "uffd-missing": [5], "uffd-minor": [10], "uffd-write-protect": [0, 12], "uffd-event-remove": [3],
    "uffd-event-unmap": [6], "uffd-event-remap": [2], "uffd-huge": [4, 9], "uffd-protect-empty": [13],
    "uffd-protect-async": [15], "uffd-move": [16],
}
NEEDED = {"uffd-missing", "uffd-minor", "uffd-write-protect", "uffd-event-remove", "uffd-event-unmap", "uffd-event-remap",
          "memfd-seals", "process-vm"}


def userfaultfd():
    device = os.open("/dev/userfaultfd", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(device, NEW, os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(device)


def api(fd, features):
    return struct.unpack("QQQ", fcntl.ioctl(fd, API, struct.pack("QQQ", 0xAA, features, 0)))[1]


def all_bits():
    fd = userfaultfd()
    has = api(fd, 0)
    os.close(fd)
    return has


def tried(features, call, mode):
    """Whether one call on a page of shared memory, which its file has, succeeds."""
    fd, file = userfaultfd(), os.memfd_create("grants")
    os.ftruncate(file, PAGE)
    os.pwrite(file, b"x", 0)
    page = mmap.mmap(file, PAGE)
    holder = ctypes.c_char.from_buffer(page)
    address = ctypes.addressof(holder)
    try:
        api(fd, features)
        fcntl.ioctl(fd, REGISTER, struct.pack("QQQQ", address, PAGE, MISSING_MODE | WP_MODE | MINOR_MODE, 0))
        fcntl.ioctl(fd, call, struct.pack("QQQq", address, PAGE, mode, 0))
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
        os.close(file)
        del holder
        page.close()


def read_now():
    """Of a blocking one, as an error that is about having nothing to say."""
    fd = userfaultfd()
    try:
        api(fd, 0)
        os.set_blocking(fd, True)
        os.preadv(fd, [bytearray(32)], -1, os.RWF_NOWAIT)
        return True
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def peer_pidfd():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with a, b:
        try:
            fd = struct.unpack("i", a.getsockopt(socket.SOL_SOCKET, 77, 4))[0]
        except OSError:
            return False
        is_one = "pidfd" in os.readlink("/proc/self/fd/%d" % fd)
        os.close(fd)
        return is_one


def memfd(flags, seals):
    try:
        fd = os.memfd_create("grants", os.MFD_ALLOW_SEALING | flags)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        return None
    return fd


def seals():
    fd = memfd(0, fcntl.F_SEAL_SHRINK)
    if fd is None:
        return False
    try:
        os.ftruncate(fd, 1)
        os.ftruncate(fd, 0)
        return False
    except PermissionError:
        return True
    finally:
        os.close(fd)


def noexec():
    fd = memfd(8, fcntl.F_SEAL_SHRINK)
    if fd is None:
        return False
    try:
        os.fchmod(fd, 0o700)
        return False
    except PermissionError:
        return True
    finally:
        os.close(fd)


def process_vm():
    text = ctypes.create_string_buffer(b"bytes")
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    here = ctypes.create_string_buffer(5)
    vector = lambda b: (ctypes.c_size_t * 2)(ctypes.addressof(b), 5)
    n = LIBC.process_vm_readv(child, vector(here), 1, vector(text), 1, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return n == 5 and here.raw == b"bytes"


def own_answers():
    has = all_bits()
    answers = {name: all(has >> b & 1 for b in bits) for name, bits in BITS.items()}
    basic = sum(1 << b for b in (0, 5, 10, 12))
    answers["uffd-continue-protected"] = tried(basic, CONTINUE, PROTECT)
    answers["uffd-poison"] = tried(basic | 1 << 14, POISON, 0)
    answers.update({"uffd-read-now": read_now(), "peer-pidfd": peer_pidfd(), "memfd-seals": seals(),
                    "memfd-noexec": noexec(), "process-vm": process_vm()})
    return answers


def ctl(build, folder, *words):
    return subprocess.run([os.path.join(build, "svmd-ctl"), "--runtime-dir", folder + "/run", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


def doctor(build):
    """What svmd says: as JSON, and as a person sees it."""
    with tempfile.TemporaryDirectory(prefix="svmd-grants-") as folder:
        p = subprocess.Popen([os.path.join(build, "svmd"), "--config", "/dev/null", "--runtime-dir", folder + "/run",
                              "--state-dir", folder + "/state"])
        try:
            deadline = time.monotonic() + 30 * int(os.environ.get("SVMD_SLOW", "1"))
            while ctl(build, folder, "status").returncode:
                if p.poll() is not None or time.monotonic() > deadline:
                    sys.exit("svmd did not come up")
                time.sleep(0.05)
            return json.loads(ctl(build, folder, "doctor", "--json").stdout), ctl(build, folder, "doctor").stdout
        finally:
            p.send_signal(signal.SIGINT)
            p.wait()


def differences(own, rows, text, lacking):
    """Sentences."""
    said = {r["id"][len("kernel-"):]: r for r in rows if r["id"].startswith("kernel-")}
    for name in own.keys() ^ said.keys():
        yield "%s: %s" % (name, "svmd does not say" if name in own else "nobody checks what svmd says")
    for name in own.keys() & said.keys():
        row = said[name]
        expected = "good" if own[name] else "warning" if name in NEEDED else "note"
        begins = "granted: " if own[name] else "not granted: "
        if row["level"] != expected or not row["text"].startswith(begins):
            yield "%s: the kernel says %s, svmd %s, %s" % (name, own[name], row["level"], row["text"])
        if not re.search(r"^%s +%s +%s" % (name, expected, begins), text, re.M):
            yield "%s: not in the table" % name
        if lacking is not None and own[name] == (name in lacking):
            yield "%s: this kernel is expected to be another one" % name
    if not any(r["id"] == "kernel" and os.uname().release in r["text"] for r in rows):
        yield "the kernel's release is not there"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("--lacking", nargs="*")
    args = p.parse_args()
    own = own_answers()
    rows, text = doctor(args.build)
    print(text)
    wrong = list(differences(own, rows, text, args.lacking))
    print("\n".join(wrong) if wrong else "%d grants are as svmd says" % len(own))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
