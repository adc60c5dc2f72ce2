#!/usr/bin/env python3
"""Debian's libhsakmt on an emulated machine, as kfd_library.c uses it; and a client of svmd that takes memory of a GPU from
the driver, behind svmd's back, is in `svmd-ctl usage --drift` with what it took.

usage: library.py BUILD"""
import os
import subprocess
import sys

import nodes
import probe

LOOK = """
def unbrokered():
    return [f["text"] for f in json.loads(ctl("doctor")) if f["id"] == "unbrokered"]
def look():
    await_probe()
    before = unbrokered()
    client = subprocess.Popen([build + "/emul-kfd-library", run + "/run/svmd.sock"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    pid, gpu, size = map(int, client.stdout.readline().split())
    rows = json.loads(ctl("usage", "--drift"))
    session = next(s["id"] for s in json.loads(ctl("session", "list")) if s["pid"] == pid)
    shown, during = json.loads(ctl("session", "show", str(session))), unbrokered()
    client.stdin.close()
    return {"pid": pid, "gpu": gpu, "size": size, "rows": rows, "code": client.wait(30), "shown": shown["unbrokered"],
            "findings": [before, during, unbrokered()]}
"""


def behind_the_back(build, machine):
    said = nodes.show(build, machine, LOOK)
    rows = said["rows"] if isinstance(said["rows"], list) else said["rows"].get("rows", said["rows"].get("drift", []))
    mine = [r for r in rows if r["source"] == "kfd" and r["pid"] == said["pid"] and str(said["gpu"]) in r["subject"] + r["place"]]
    good = said["code"] == 0 and len(mine) == 1 and mine[0]["reported"] == mine[0]["drift"] == said["size"]
    print(f"memory taken from the driver by a client: {'reported' if good else said}", flush=True)
    return good and in_sight(said)


def in_sight(said):
    """The session shows it, with the files that are open; doctor says it while it lasts, and neither before nor after."""
    shown = {(r["source"], r["place"].split()[0]): r for r in said["shown"]}
    before, during, after = said["findings"]
    good = ("kfd", str(said["gpu"])) in shown and any(s in ("fd", "maps") and p == "/dev/kfd" for s, p in shown) and \
        all(r["pid"] == said["pid"] and r["unbrokered"] for r in said["shown"]) and \
        before == after == [] and len(during) == 1 and str(said["pid"]) in during[0]
    print(f"what it uses without svmd, in its session and in doctor: {'shown' if good else said}", flush=True)
    return good


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    with probe.generated(8, 2) as machine:
        status = subprocess.call([os.path.join(probe.HERE, "enter.sh"), f"{build}/svmd-emul", machine, "env",
                                  f"LD_PRELOAD={build}/tests/emul/libsvmd-emul-fstat.so",
                                  "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0", f"{build}/emul-kfd-library"])
        good = behind_the_back(build, machine)
    sys.exit(0 if good and status == 0 else 1)


if __name__ == "__main__":
    main()
