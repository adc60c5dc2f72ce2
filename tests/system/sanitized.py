#!/usr/bin/env python3
"""The same client plain, under AddressSanitizer and under ThreadSanitizer: plain and ASan programs share pointers in a
partition of the primary window, plain and TSan programs in one of the low window, and a TSan program that asks for the
primary one is told what to type."""
import os
import signal
import shutil
import subprocess
import sys
import tempfile
import time

COLLISION, RECORDS = 31, 1000


class Lab:
    def __init__(self, build):
        self.build, self.dir = build, tempfile.mkdtemp(prefix="svmd-sanitized-")
        self.env = dict(os.environ, SVMD_SOCKET=self.dir + "/run/svmd.sock")
        self.daemon = subprocess.Popen([build + "/svmd", "--config", "/dev/null", "--runtime-dir", self.dir + "/run", "--state-dir",
                                        self.dir + "/state", "--log-level", "warning"])

    def ctl(self, *words):
        return subprocess.run([self.build + "/svmd-ctl", "--runtime-dir", self.dir + "/run", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def wait(self):
        deadline = time.monotonic() + 30
        while self.ctl("status").returncode != 0:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit("svmd did not come up")
            time.sleep(0.05)

    def client(self, kind, *words):
        return subprocess.Popen([f"{self.build}/sanitized-{kind}", *words], env=self.env, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)

    def run(self, kind, *words):
        client = self.client(kind, *words)
        out, _ = client.communicate(timeout=60)
        return client.returncode, out.split()

    def end(self):
        self.daemon.send_signal(signal.SIGINT)
        self.daemon.wait(30)
        shutil.rmtree(self.dir)


def share(lab, partition, publisher, followers, low):
    """One publishes, the others follow its pointers at once."""
    first = lab.client(publisher, "publish", partition)
    base, head = first.stdout.readline().split()
    inside = 0x1000000000 <= int(base, 16) < 0x4000000000 if low else 0x280000000000 <= int(base, 16) < 0x400000000000
    good = inside
    for kind in followers:
        code, words = lab.run(kind, "follow", partition)
        right = code == 0 and words == [base, head, str(RECORDS), str(RECORDS * (RECORDS - 1) // 2)]
        print(f"{partition}: {kind} follows {publisher}'s pointers at {base}: {'right' if right else (code, words)}")
        good = good and right
    first.stdin.close()
    return first.wait(60) == 0 and good


def main():
    lab = Lab(os.path.abspath(sys.argv[1]))
    try:
        lab.wait()
        for name, window in (("high", "primary"), ("low", "low")):
            done = lab.ctl("partition", "create", name, "--size", "4G", "--window", window)
            if done.returncode != 0:
                sys.exit(done.stderr)
        results = [share(lab, "high", "plain", ["asan", "plain"], False), share(lab, "high", "asan", ["plain", "asan"], False),
                   share(lab, "low", "plain", ["tsan", "plain"], True), share(lab, "low", "tsan", ["plain", "tsan"], True)]
        code, words = lab.run("tsan", "attach", "high")
        told = code == COLLISION and "--window low" in " ".join(words)
        print(f"tsan in the primary window: {' '.join(words)}")
        results.append(told)
    finally:
        lab.end()
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
