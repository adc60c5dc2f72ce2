#!/usr/bin/env python3
"""container_start.py BUILD RUNTIME_DIR PID: what a partition of its own adds to a container of runc, as rows of the bench.

A container is started with the hook that makes a partition for it, with its limits on each node, and without: in turns, each
first in every other round, on one CPU; svmd is on another. It has started when its program has said a word, and has run when
the runtime has ended, which for the first also means that its partition is gone.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS, WARM = 30, 3
LIMITS = {"org.svmd.size": "4G", "org.svmd.max.soft0": "32M", "org.svmd.max.host0": "96M"}


def make_bundle(folder, hook):
    """As `runc spec` makes it, with a program that says a word; `hook`: the words that call svmd-hook, or None."""
    root = os.path.join(folder, "rootfs")
    for name in ("bin", "proc", "dev", "sys", "tmp", "run"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    subprocess.run(["runc", "spec", "--bundle", folder], check=True)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"].update(terminal=False, args=["/bin/busybox", "echo", "started"])
    if hook:
        spec["annotations"] = LIMITS
        spec["hooks"] = {"createRuntime": [{"path": hook[0], "args": [*hook, "attach", "--mount"]}],
                         "poststop": [{"path": hook[0], "args": [*hook, "release"]}]}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file)


def start(runtime, bundle, name):
    """Milliseconds until it had started, and until it had run."""
    begun = time.monotonic()
    process = subprocess.Popen([*runtime, "run", "--bundle", bundle, name], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)
    word = os.read(process.stdout.fileno(), 64)
    started = time.monotonic()
    status = process.wait()
    ended = time.monotonic()
    process.stdout.close()
    if word != b"started\n" or status != 0:
        raise SystemExit(f"runc: the container ended with {status}")
    return 1000 * (started - begun), 1000 * (ended - begun)


def row(name, value, limit):
    ratios = [a / b for a, b in zip(value, limit)]
    value, limit = statistics.median(value), statistics.median(limit)
    return {"name": name, "value": value, "unit": "ms", "limit": limit, "ratio": value / limit, "min": min(ratios),
            "max": max(ratios), "runs": ROUNDS}


def main():
    build, runtime_dir = sys.argv[1:3]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    hook = [os.path.join(build, "svmd-hook"), "--runtime-dir", runtime_dir]
    times = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="svmd-start-") as folder:
        runtime = ["runc", "--root", os.path.join(folder, "state")]
        for name in times:
            make_bundle(os.path.join(folder, name), hook if name == "with" else None)
        for number in range(WARM + ROUNDS):
            for name in sorted(times, reverse=number % 2 == 0):
                taken = start(runtime, os.path.join(folder, name), f"{name}-{number}")
                if number >= WARM:
                    times[name].append(taken)
    for i, name in enumerate(("container_start", "container_run")):
        print(json.dumps(row(name, [t[i] for t in times["with"]], [t[i] for t in times["without"]])))


if __name__ == "__main__":
    main()
