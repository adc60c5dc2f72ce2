#!/usr/bin/env python3
"""Unmodified programs with a managed heap, under svmd-run.

    run.py BUILD [NAME...]      SVMD_SEED reproduces the choices; larger inputs with SVMD_LONG=1

Each program runs twice as it is, and must print the same both times. Then it runs with its heap in a partition of its
own, and then once more while host memory may hold a quarter of what the partition held at its peak, while pieces of its
heap are moved every few milliseconds, and svmd is killed once and started again. Both times it must print the same; at
least 95 % of what it allocated is managed; the host's bytes that svmd reports never pass the limit by more than swaps
take, nor half of the peak; and what moved is not small.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from programs import jobs  # noqa: E402

PATIENCE = 30
PATIENCE_PROGRAM = 3600 if os.environ.get("SVMD_LONG") else 240
GRANULE = 64 << 10
LEAST_MANAGED = 0.95
LEAST_MOVED = 0.25  # of the peak


class TestError(Exception):
    pass


class Svmd:
    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.runtime = os.path.join(folder, "run")
        with open(os.path.join(folder, "conf"), "w", encoding="ascii"):
            pass
        self.start()

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.build, "svmd"), "--config", os.path.join(self.folder, "conf"), "--runtime-dir",
                 self.runtime, "--state-dir", os.path.join(self.folder, "state"), "--soft-node", "gpu0:size=2G",
                 "--soft-node", "gpu1:size=2G", "--log-level", "warning"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while self.ctl("status", check=False) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                raise TestError("svmd does not come up; see its log")
            time.sleep(0.02)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def socket(self, name="svmd.sock"):
        return os.path.join(self.runtime, name)

    def ctl(self, *words, check=True):
        done = subprocess.run([os.path.join(self.build, "svmd-ctl"), "--socket", self.socket("admin.sock"), "--json",
                               *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0 and check:
            raise TestError(f"svmd-ctl {' '.join(words)}: {done.stderr}")
        return done.stdout if done.returncode == 0 else None

    def swaps(self):
        """Bytes by which limits may be passed for as long as swaps take: what is kept back for them."""
        rows = json.loads(self.ctl("node", "list"))
        return next(row["reserve"] for row in rows if row["kind"] == "host")

    def host_use(self, partition, check=True):
        """(used, peak) of the partition on host nodes; None while svmd is away."""
        text = self.ctl("usage", "--partition", partition, check=check)
        rows = json.loads(text) if text else []
        mine = [row for row in rows if row["session"] is None and row["node"].startswith("host")]
        return (sum(row["used"] for row in mine), sum(row["peak"] for row in mine)) if text else None

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


class Pressure:
    """Orders, samples of what the host holds, and one kill of svmd."""

    def __init__(self, svmd, partition, seed, kills=1):
        self.svmd, self.partition, self.most, self.samples, self.over = svmd, partition, 0, 0, threading.Event()
        self.to_kill, self.kills, self.failure = kills, 0, None
        self.orders = subprocess.Popen([os.path.join(svmd.build, "heap-orders"), svmd.socket("admin.sock"), partition,
                                        str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.over.wait(0.1 if self.kills == self.to_kill else 0.01):
                use = self.svmd.host_use(self.partition, check=False)
                if use:
                    self.most, self.samples = max(self.most, use[0]), self.samples + 1
                if self.kills < self.to_kill and use and use[0]:
                    self.svmd.restart()
                    self.kills += 1
        except TestError as error:
            self.failure = error

    def end(self):
        self.over.set()
        self.thread.join()
        out, _ = self.orders.communicate(timeout=PATIENCE)
        if self.failure:
            raise self.failure
        return int(out)


def run(job, prefix=(), environment=None):
    """What the program prints, and its exit status."""
    if job.again:
        subprocess.run(job.again, cwd=job.folder, check=True)
    given = open(job.given, "rb") if job.given else subprocess.DEVNULL
    try:
        done = subprocess.run([*prefix, *job.command], cwd=job.folder, stdin=given, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C", "PYTHONHASHSEED": "1",
                                                           **(environment or {})},
                              timeout=PATIENCE_PROGRAM, check=False)
    except subprocess.TimeoutExpired:
        raise TestError(f"{job.name} has not ended after {PATIENCE_PROGRAM} s") from None
    finally:
        if job.given:
            given.close()
    return done.returncode, done.stdout, done.stderr


def read_stats(path):
    """The sums over all processes of a run."""
    with open(path, encoding="ascii") as file:
        rows = [json.loads(line) for line in file]
    return {key: sum(row[key] for row in rows) for key in rows[0] if key not in ("pid", "program")}, len(rows)


def must_equal(job, wanted, got, what):
    for name, a, b in zip(("status", "output", "complaints"), wanted, got):
        if a != b:
            raise TestError(f"{job.name}: its {name} {what} is not that of a plain run:\n{b!r:.600}\nwanted\n{a!r:.600}")


class Test:
    def __init__(self, svmd, folder, seed):
        self.svmd, self.folder, self.random = svmd, folder, random.Random(seed)

    def managed(self, job, name):
        stats = os.path.join(self.folder, name)
        prefix = [os.path.join(self.svmd.build, "svmd-run"), "--partition", job.name, f"--stat={stats}", "--json", "--"]
        got = run(job, prefix, {"SVMD_SOCKET": self.svmd.socket()})
        return got, *read_stats(stats)

    def job(self, job):
        begin = time.monotonic()
        wanted = run(job)
        must_equal(job, wanted, run(job), "a second time")
        self.svmd.ctl("partition", "create", job.name)
        got, _, _ = self.managed(job, job.name + ".free")
        must_equal(job, wanted, got, "under svmd-run")
        peak = self.svmd.host_use(job.name)[1]
        limit = peak // 4 // GRANULE * GRANULE
        self.svmd.ctl("partition", "set", job.name, "--limit", f"host0={limit}")
        pressure = Pressure(self.svmd, job.name, self.random.getrandbits(31))
        try:
            got, stats, processes = self.managed(job, job.name + ".pressed")
        finally:
            orders = pressure.end()
        must_equal(job, wanted, got, "under pressure")
        self.judge(job, peak, limit, self.svmd.swaps(), stats, pressure)
        print(f"{job.name:8} {processes:4} processes, peak {peak >> 10:8} KiB, limit {limit >> 10:7} KiB, most seen "
              f"{pressure.most >> 10:7} KiB, managed {share(stats):.1%}, moved out {stats['outs'] / peak:5.2f} and in "
              f"{stats['ins'] / peak:5.2f} of the peak, {orders:5} orders, {pressure.kills} kill, "
              f"{time.monotonic() - begin:.1f} s", flush=True)

    @staticmethod
    def judge(job, peak, limit, swaps, stats, pressure):
        if share(stats) < LEAST_MANAGED:
            raise TestError(f"{job.name}: only {share(stats):.1%} of its memory was managed")
        if pressure.most > min(limit + swaps, peak // 2):
            raise TestError(f"{job.name}: {pressure.most} host bytes were seen, the limit is {limit}")
        if not pressure.kills or not pressure.samples:
            raise TestError(f"{job.name}: it ended before svmd was killed under it")
        if stats["outs"] < LEAST_MOVED * peak:
            raise TestError(f"{job.name}: only {stats['outs']} bytes of {peak} moved")


def share(stats):
    return stats["managed"] / max(1, stats["managed"] + stats["other"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    seed = int(os.environ.get("SVMD_SEED") or random.SystemRandom().getrandbits(31))
    print(f"SVMD_SEED={seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="svmd-heap-")
    svmd = None
    try:
        svmd = Svmd(os.path.abspath(arguments.build), folder)
        test = Test(svmd, folder, seed)
        for job in jobs(folder, seed, bool(os.environ.get("SVMD_LONG"))):
            if not arguments.names or job.name in arguments.names:
                test.job(job)
        if svmd.stop() != 0:
            raise TestError("svmd ended with a failure")
    except TestError as error:
        print(f"{error}\nwhat svmd said is in {folder}/log", file=sys.stderr)
        if svmd and svmd.process.poll() is None:
            svmd.stop()
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
