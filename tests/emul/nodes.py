#!/usr/bin/env python3
"""svmd on an emulated machine: the nodes of kind kfd, in `svmd-ctl node list|show` and doctor, are what was recorded. With
a probe that aborts these nodes are not there, doctor says so, and everything else is.

usage: nodes.py BUILD"""
import json
import os
import subprocess
import sys
import tempfile

import probe

SHOWN = """
import json, os, signal, subprocess, sys, time
build, run, out, options = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
svmd = subprocess.Popen([build + "/svmd", "--config", "/dev/null", "--runtime-dir", run + "/run", "--state-dir", run + "/state",
                         "--soft-node", "gpu0:size=64M", *options], stderr=open(run + "/log", "w"))
def ctl(*words):
    return subprocess.run([build + "/svmd-ctl", "--json", "--runtime-dir", run + "/run", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
def look():
    until = time.monotonic() + 30
    while time.monotonic() < until:
        about = [f for f in json.loads(ctl("doctor") or "[]") if f["id"] == "kfd"]
        if about and "look again in a moment" not in about[0]["text"]:
            nodes = [json.loads(ctl("node", "show", n["name"])) for n in json.loads(ctl("node", "list"))]
            return {"nodes": nodes, "kfd": about}
        time.sleep(0.05)
try:
    json.dump(look(), open(out, "w"))
finally:
    svmd.send_signal(signal.SIGINT)
    code = svmd.wait(30)
sys.exit(code)
"""


def show(build, machine, *options):
    """What svmd says of the machine."""
    with tempfile.TemporaryDirectory(dir=probe.MEMORY) as folder:
        out = os.path.join(folder, "out")
        environment = {**os.environ, "LD_PRELOAD": f"{build}/tests/emul/libsvmd-emul-fstat.so",
                       "ASAN_OPTIONS": "verify_asan_link_order=0"}
        words = [f"{k}={environment[k]}" for k in ("LD_PRELOAD", "ASAN_OPTIONS")]
        subprocess.check_call([os.path.join(probe.HERE, "enter.sh"), f"{build}/svmd-emul", machine, "env", *words,
                               sys.executable, "-c", SHOWN, build, folder, out, *options])
        with open(out, encoding="ascii") as f:
            return json.load(f)


def compare(build, machine, name):
    said = show(build, machine)
    want = probe.recorded(machine)
    nodes = {n["name"]: n for n in said["nodes"] if n["kind"] == "kfd"}
    gpus = [i for i, node in enumerate(want) if node[0] == "gpu"]
    wrong = [] if list(nodes) == [f"kfd{i}" for i in gpus] else [f"nodes are {list(nodes)}"]
    for i in gpus if not wrong else ():
        node, (_, size, hive, links) = nodes[f"kfd{i}"], want[i]
        seen = {(int(l["to"][3:]) if l["peer"] else "host", l["type"].lower(), l["weight"], l["min_bandwidth"], l["max_bandwidth"])
                for l in node["links"]}
        there = {(to if want[to][0] == "gpu" else "host", *rest) for to, *rest in links}
        if (node["capacity"] // 4096 * 4096, node["hive"] or 0) != (size, hive) or seen != there:
            wrong.append(f"kfd{i} is {node['capacity']} bytes in {node['hive']} with {len(seen)} links, or they differ")
        if (int(node["va_start"], 16), int(node["va_end"], 16), node["faults"]) != (1 << 24, 1 << 47, False):
            wrong.append(f"kfd{i} shows {node['va_start']} to {node['va_end']}, faults {node['faults']}")
    words = f"{len(gpus)} GPU"
    if not said["kfd"] or words not in said["kfd"][0]["text"]:
        wrong.append(f"doctor says {said['kfd']}")
    print(f"{name}: {len(gpus)} nodes of kind kfd: " + ("as recorded" if not wrong else "; ".join(wrong[:5])), flush=True)
    return not wrong


def fails(build, machine, body, words):
    with tempfile.TemporaryDirectory() as folder:
        fake = os.path.join(folder, "probe")
        with open(fake, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{body}\n")
        os.chmod(fake, 0o755)
        said = show(build, machine, f"--kfd-probe={fake}")
    kinds = {n["kind"] for n in said["nodes"]}
    good = "kfd" not in kinds and {"host", "soft"} <= kinds and words in said["kfd"][0]["text"]
    print(f"a probe that does \"{body}\": " + ("costs these nodes alone" if good else f"{kinds}, {said['kfd']}"), flush=True)
    return good


def main():
    build, good = sys.argv[1], True
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    for gpus, hives in ((8, 2), (63, 8)):
        with probe.generated(gpus, hives) as machine:
            good &= compare(build, machine, f"generated {gpus} x {hives}")
            if gpus == 8:
                good &= fails(build, machine, "kill -ABRT $$", "signal 6")
    for name in probe.RECORDED if os.environ.get("SVMD_FIXTURES") else ():
        with probe.unpacked(name) as machine:
            good &= compare(build, machine, name)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
