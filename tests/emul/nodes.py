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

# Inside: svmd comes up, and `look` says what is told of it.
START = """
import json, os, signal, subprocess, sys, time
build, run, out, options = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
# Of the recorded machine's NUMA nodes svmd sees those that this machine has: its own memory is from there.
def links(source, target, *path):
    os.mkdir(target)
    for name in os.listdir(source):
        there = name.replace("node", "", 1)
        if path and name == path[0]:
            links(source + "/" + name, target + "/" + name, *path[1:])
        elif path or not there.isdigit() or os.path.exists(source + "/" + name + "/distance"):
            os.symlink(source + "/" + name, target + "/" + name)
links("/sys", run + "/sys", "devices", "system", "node")
def start():
    return subprocess.Popen([build + "/svmd", "--config", "/dev/null", "--runtime-dir", run + "/run", "--state-dir",
                             run + "/state", "--sys-root", run + "/sys", "--soft-node", "gpu0:size=64M", *options], stderr=open(run + "/log", "a"))
svmd = start()
def ctl(*words):
    return subprocess.run([build + "/svmd-ctl", "--json", "--runtime-dir", run + "/run", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
def finding():
    until = time.monotonic() + 30
    while time.monotonic() < until:
        about = [f for f in json.loads(ctl("doctor") or "[]") if f["id"] == "kfd"]
        if about and "look again in a moment" not in about[0]["text"]:
            return about
        time.sleep(0.05)
# A machine that is busy with other things may take longer than svmd waits; a new svmd asks again.
def await_probe():
    global svmd
    for _ in range(5):
        about = finding()
        if "not done after" not in about[0]["text"]:
            return about
        svmd.send_signal(signal.SIGINT)
        svmd.wait(30)
        svmd = start()
    return about
"""

LOOK = """
def look():
    about = await_probe()
    rows = json.loads(ctl("node", "list"))
    return {"nodes": [json.loads(ctl("node", "show", n["name"])) if n["kind"] == "kfd" else n for n in rows], "kfd": about}
"""

END = """
try:
    json.dump(look(), open(out, "w"))
finally:
    svmd.send_signal(signal.SIGINT)
    code = svmd.wait(30)
sys.exit(code)
"""


def show(build, machine, look, *options):
    """What `look` gives on the machine."""
    with tempfile.TemporaryDirectory(dir=probe.MEMORY) as folder:
        out = os.path.join(folder, "out")
        environment = {**os.environ, "LD_PRELOAD": f"{build}/tests/emul/libsvmd-emul-fstat.so",
                       "ASAN_OPTIONS": "verify_asan_link_order=0"}
        words = [f"{k}={environment[k]}" for k in ("LD_PRELOAD", "ASAN_OPTIONS")]
        subprocess.check_call([os.path.join(probe.HERE, "enter.sh"), f"{build}/svmd-emul", machine, "env", *words,
                               sys.executable, "-c", START + look + END, build, folder, out, *options])
        with open(out, encoding="ascii") as f:
            return json.load(f)


def compare(build, machine, name):
    said = show(build, machine, LOOK)
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
        said = show(build, machine, LOOK, f"--kfd-probe={fake}")
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
    for name in probe.all_recorded():
        with probe.unpacked(name) as machine:
            good &= compare(build, machine, name)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
