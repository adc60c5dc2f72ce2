#!/usr/bin/env python3
"""GPUs that change between two runs of svmd, of one model and size. A node is its hardware, not its place in the topology: of
two GPUs one is taken out, and the other one is not taken for it; it is put into another slot, and its node, number and limit
are there again; another GPU is put into its slot, which the driver calls by the same number: that is a new node, and what a
client takes there is told once, as that one's.

usage: exchange.py BUILD [client]        without a client that uses libhsakmt, or with it"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import nodes
import probe

A, B, C = 0xA1, 0xB2, 0xC3  # the hardware's own numbers

LOOK = """
def finish(number):
    svmd.send_signal(number)
    return svmd.wait(30)
def gpus():
    return [json.loads(ctl("node", "show", n["name"])) for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd"]
try:
    # A machine that is busy with other things may take longer to tell its GPUs than svmd waits; the next one hears of all.
    for _ in range(5):
        await_probe()
        if sum(r["online"] and r["id"] < 256 for r in gpus()) == there:
            break
        finish(signal.SIGTERM)
        svmd = start()
    if "limit" in words:
        subprocess.run([build + "/svmd-ctl", "--runtime-dir", run + "/run", "partition", "create", "one", "--limit", "kfd1=1G"], stdout=subprocess.DEVNULL, check=True)
    limits = {r["node"]: r["max"] for r in json.loads(ctl("usage", "--partition", "one")) if r.get("session") is None and r["max"]}
    drift = []
    if "client" in words:
        client = subprocess.Popen([build + "/emul-kfd-agent", run + "/run/svmd.sock", "after"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pid, gpu = client.stdout.readline().split()
        drift = [[r["place"], r["ledger"], r["reported"]] for r in json.loads(ctl("usage", "--drift")) if r["source"] == "kfd" and str(r["pid"]) == pid]
        client.stdin.close()
        drift.append(client.wait(30))
    json.dump([[[r["name"], r["id"], r["online"], r["trouble"], r["device"]] for r in gpus()], limits, drift], open(out, "w"))
finally:
    code = finish(signal.SIGINT if "end" in words else signal.SIGTERM)
sys.exit(code)
"""


def machine(folder, slots):
    """GPUs, by slot, of one model: the driver's number is made of the slot."""
    subprocess.check_call([sys.executable, os.path.join(probe.BACKEND, "mkmachine.py"), folder, "--gpus", str(len(slots)), "--hives",
                           "1", "--cpus", "1", "--mem", "64G"])
    for index, (slot, unique) in enumerate(sorted(slots.items()), 1):
        node = f"{folder}/topology/nodes/{index}"
        with open(f"{node}/properties", "a", encoding="ascii") as f:
            f.write(f"unique_id {unique}\nlocation_id {slot << 8}\ndrm_render_minor {128 + slot}\n")
        with open(f"{node}/gpu_id", "w", encoding="ascii") as f:
            f.write(f"{4000 + slot}\n")
    return probe.complete(folder)


def run(build, kept, slots, *words):
    """What an svmd says that goes on with what is kept."""
    out = os.path.join(kept, "out")
    shutil.rmtree(os.path.join(kept, "sys"), ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=probe.MEMORY) as folder:
        environment = [f"LD_PRELOAD={build}/tests/emul/libsvmd-emul-fstat.so", "ASAN_OPTIONS=verify_asan_link_order=0"]
        program = f"words, there = {words!r}, {len(slots)}\n" + nodes.START + LOOK
        subprocess.check_call([os.path.join(probe.HERE, "enter.sh"), f"{build}/svmd-emul", machine(folder, slots), "env", *environment,
                               sys.executable, "-c", program, build, kept, out])
    with open(out, encoding="ascii") as f:
        return json.load(f)


def main():
    build, client = sys.argv[1], sys.argv[2:]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    gone = "AMD's driver has it no longer"
    limits = {"kfd1": 1 << 30}
    with tempfile.TemporaryDirectory(dir=probe.MEMORY) as kept:
        said = {
            "two GPUs": run(build, kept, {1: A, 2: B}, "limit"),
            "one taken out": run(build, kept, {2: B}),
            "put into another slot": run(build, kept, {2: B, 3: A}),
            "exchanged": run(build, kept, {2: A, 3: B}),
            "another one in its place": run(build, kept, {2: C, 3: B}),
            "the same once more": run(build, kept, {2: C, 3: B}, "end", *client),
        }
    first = [row[1] for row in said["two GPUs"][0]]
    fresh = [row[1] for row in said["another one in its place"][0]][2:]
    drift = [["4002 vram", 4 << 20, 4 << 20], 0] if client else []

    def row(name, slot, trouble=None):
        ids = dict(zip(("kfd1", "kfd2"), first), **dict(zip(("kfd1-2",), fresh)))
        return [name, ids.get(name), slot is not None, trouble, f"/dev/dri/renderD{128 + slot}" if slot else None]

    replaced = [row("kfd1", None, gone + ": another GPU is in its place, 0000:02:00.0"), row("kfd2", 3), row("kfd1-2", 2)]
    want = {
        "two GPUs": [row("kfd1", 1), row("kfd2", 2)],
        "one taken out": [row("kfd1", None, gone), row("kfd2", 2)],
        "put into another slot": [row("kfd1", 3), row("kfd2", 2)],
        "exchanged": [row("kfd1", 2), row("kfd2", 3)],
        "another one in its place": replaced,
        "the same once more": replaced,
    }
    wrong = [f"{key}: {said[key]}, not {rows}" for key, rows in want.items() if said[key] != [rows, limits, drift if "once more" in key else []]]
    print("GPUs of one size that change between two runs of svmd: " + ("each is the node that it was" if not wrong else "; ".join(wrong)),
          flush=True)
    sys.exit(0 if not wrong else 1)


if __name__ == "__main__":
    main()
