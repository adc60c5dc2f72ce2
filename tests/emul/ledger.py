#!/usr/bin/env python3
"""GPUs that svmd found are nodes of its ledger: a limit counts on one, and its number is the same after svmd was killed,
with the driver there, with a probe that aborts (the node is lost, and says why), and with the driver there again.

usage: ledger.py BUILD"""
import sys

import nodes
import probe

LOOK = """
def gpus():
    return [[n["name"], n["id"], n["online"], n["trouble"]] for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd"]
def again(*more):
    global svmd, options
    options = more
    svmd.kill()
    svmd.wait(30)
    svmd = start()
    await_probe()
    return gpus()
def limit():
    return [r["max"] for r in json.loads(ctl("usage", "--partition", "one")) if r["node"] == "kfd2" and r.get("session") is None]
def look():
    await_probe()
    said = {"first": gpus(), "show": json.loads(ctl("node", "show", "kfd2"))}
    with open(run + "/dead", "w") as f:
        f.write("#!/bin/sh\\nkill -ABRT $$\\n")
    os.chmod(run + "/dead", 0o755)
    subprocess.run([build + "/svmd-ctl", "--runtime-dir", run + "/run", "partition", "create", "one", "--limit", "kfd2=1G"], check=True)
    said["limit"] = limit()
    said["killed"] = again()
    said["dead"] = again("--kfd-probe=" + run + "/dead")
    said["back"] = again()
    said["limit after"] = limit()
    return said
"""


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    with probe.generated(2, 1) as machine:
        said = nodes.show(build, machine, LOOK)
    first = said["first"]
    names = [row[:2] for row in first]
    good = len(first) == 2 and all(row[1] < 256 and row[2] for row in first)
    good &= said["killed"] == said["back"] == first
    good &= [row[:2] for row in said["dead"]] == names and all(not row[2] and "signal 6" in row[3] for row in said["dead"])
    good &= said["limit"] == said["limit after"] == [1 << 30]
    good &= "alloc" in said["show"]["delegated"] and not said["show"]["brokered"]
    print("nodes of kind kfd in the ledger: " + ("numbers and limits stay" if good else f"{said}"), flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
