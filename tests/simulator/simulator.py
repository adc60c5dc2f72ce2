#!/usr/bin/env python3
"""svmd-sim as a program.

    simulator.py program --build DIR   options, tables, JSON, pictures, what is refused
    simulator.py machine --build DIR   a recording on other machines: generated ones always, the recorded ones where
                                       SVMD_FIXTURES names their folder
    simulator.py real --build DIR      two programs' heaps under a real svmd, recorded with little memory; what
                                       svmd-sim says of more memory is compared with what svmd then really does

A recording has the touches that faulted. With little memory that is nearly every change from one granule to
another, so it stands for the program under any larger memory. What is not in it: touches of granules that were there
(so that figures from it are a little too low), and the program's own timing, by which another granule may leave first.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.dom.minidom

HERE = os.path.dirname(os.path.abspath(__file__))
TRACES = os.path.join(HERE, "..", "policy", "traces")
GENERATOR = os.path.join(HERE, "..", "backend", "mkmachine.py")
COUNTER = os.path.join(HERE, "..", "backend", "count_machine.py")
RECORDED = ["kfd-mi210-8gpu-2hives", "kfd-mi308x-8gpu-cpx4"]

# Of the faults and bytes of a real run.
LEAST, MOST = 0.6, 1.5


def must(condition, text):
    if not condition:
        sys.exit(f"simulator.py: {text}")


class Runner:
    def __init__(self, build):
        self.build = os.path.abspath(build)

    def path(self, name):
        return os.path.join(self.build, name)

    def sim(self, *args, status=0, env=None):
        run = subprocess.run(
            [self.path("svmd-sim"), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
        )
        must(run.returncode == status, f"svmd-sim {args}: {run.returncode}, not {status}: {run.stderr}")
        return run.stdout, run.stderr

    def runs(self, *args):
        out, _ = self.sim(*args, "--json")
        return {run["policy"]: run for run in json.loads(out)["runs"]}


def refused(r, text, *args, status=2):
    out, err = r.sim(*args, status=status)
    must(out == "", f"svmd-sim {args} wrote {out!r}")
    must(text in err, f"svmd-sim {args}: {text!r} is not in {err!r}")


def program(r):
    sort = os.path.join(TRACES, "sort.trace")
    with tempfile.TemporaryDirectory() as folder:
        out, _ = r.sim("--help")
        must("Examples:" in out, "--help has no examples")
        out, _ = r.sim("--trace", sort, "--policy", "balanced,throughput,latency,pinned")
        must(all(w in out for w in ("recorded", "balanced", "throughput", "latency", "pinned")), out)
        must("gpu0 -> host0" in out and "#" in out, out)
        out, _ = r.sim("--trace", sort, env={"LC_ALL": "C.UTF-8"})
        must("█" in out, out)
        must(r.sim("--trace", sort)[0] == r.sim("--trace", sort)[0], "the same input gave another output")

        runs = r.runs("--trace", sort, "--policy", "balanced,pinned")
        must(runs["recorded"]["faults"] == 2201, runs["recorded"])
        must(runs["balanced"]["touches"] == 2201, runs["balanced"])
        more = r.runs("--trace", sort, "--limit", "host0=200M")["balanced"]
        must(more["evictions"] == 0 and more["faults"] < runs["balanced"]["faults"], more)
        small = r.runs("--trace", sort, "--node", "gpu0=32M")["balanced"]
        must(small["nodes"][1]["capacity"] == 32 << 20 and small["nodes"][1]["peak"] <= 32 << 20, small)

        svg = os.path.join(folder, "a.svg")
        r.sim("--trace", sort, "--svg", svg)
        must(len(xml.dom.minidom.parse(svg).getElementsByTagName("path")) > 3, "the picture is empty")
        refused_at = os.path.join(folder, "none", "a.svg")
        _, err = r.sim("--trace", sort, "--svg", refused_at, status=1)
        must("cannot be written" in err, err)

        lines = r.sim("--trace", sort, "--list")[0].splitlines()
        must("node" in lines[0] and "host0" in lines[0] and lines[-1].split()[2] == "end", lines[0])

        refused(r, "say --trace FILE, or --synthetic")
        refused(r, "say --trace FILE, or --synthetic", "--trace", sort, "--synthetic", "nodes=8")
        refused(r, "expected some of balanced", "--trace", sort, "--policy", "best")
        refused(r, "expected NAME=SIZE", "--trace", sort, "--node", "host0")
        refused(r, "no node of that name", "--trace", sort, "--limit", "gpu9=1G")
        refused(r, "expected a number, 2 to 64", "--trace", sort, "--workers", "1")
        refused(r, "cannot be read", "--trace", os.path.join(folder, "none"), status=1)
        refused(r, "this is no trace of svmd", "--trace", os.path.abspath(__file__), status=1)
        cut = os.path.join(folder, "cut.trace")
        with open(sort, "rb") as whole, open(cut, "wb") as file:
            file.write(whole.read()[:-17])
        refused(r, "expected a whole", "--trace", cut, status=1)

        rows = json.loads(r.sim("--synthetic", "nodes=8..32,pages=2000,events=20000,seed=3", "--json")[0])
        must([row["nodes"] for row in rows] == [8, 16, 32], rows)
        again = json.loads(r.sim("--synthetic", "nodes=8..32,pages=2000,events=20000,seed=3", "--json")[0])
        must([row["checksum"] for row in rows] == [row["checksum"] for row in again], "another cluster of one seed")
        refused(r, "expected nodes=2..65535", "--synthetic", "nodes=1")
        refused(r, "expected nodes=2..65535", "--synthetic", "pattern=odd")
    return 0


# ---- other machines ----


def nodes_of(machine):
    """name -> capacity, from the files alone."""
    lines = subprocess.check_output([sys.executable, COUNTER, machine], text=True).splitlines()
    rows = [line.split() for line in lines if not line.startswith((" ", "total"))]
    return {row[0]: int(row[1]) for row in rows}


def on_machine(r, machine, *args):
    """What was made of the recording there: the nodes are the machine's, and none holds more than it can."""
    run = r.runs("--trace", os.path.join(TRACES, "sort.trace"), "--machine", machine, *args)["balanced"]
    nodes, shown = nodes_of(machine), {n["node"]: n for n in run["nodes"]}
    must(run["touches"] == 2201 and shown, run)
    for name, node in shown.items():
        must(name in nodes and node["capacity"] == nodes[name], f"{name} has {node['capacity']}, of {nodes.get(name)}")
        must(node["peak"] <= node["capacity"], node)
    for link in run["links"]:
        must(link["from"] in nodes and link["to"] in nodes, link)
    return run


def slow_links(machine):
    for root, _, files in os.walk(machine):
        if "io_links" in root and "properties" in files:
            path = os.path.join(root, "properties")
            with open(path, encoding="ascii") as f:
                lines = [line.split() for line in f]
            with open(path, "w", encoding="ascii") as f:
                f.writelines(f"{k} {max(int(v) // 100, 1) if k.endswith('bandwidth') else v}\n" for k, v in lines)


def generate(folder, name, *args):
    machine = os.path.join(folder, name)
    subprocess.check_call([sys.executable, GENERATOR, machine, *args])
    return machine


def machine(r):
    with tempfile.TemporaryDirectory() as folder:
        small = generate(folder, "small", "--gpus", "2", "--hives", "1", "--mem", "64M", "--host-mem", "32M", "--cpus", "1")
        run = on_machine(r, small)
        must(run["evictions"] > 0 and {n["node"] for n in run["nodes"]} == {"host0", "gpu0", "gpu1"}, run)
        must(on_machine(r, small) == run, "the same input gave another output")
        must(on_machine(r, small, "--machine-faults", "off")["evictions"] > 0, "nothing leaves without faults of devices")
        slow_links(small)
        must(on_machine(r, small)["stalled_ns"] > 2 * run["stalled_ns"], "slower links cost nothing")
        large = generate(folder, "large", "--gpus", "8", "--hives", "2", "--mem", "1G", "--host-mem", "1G", "--cpus", "2")
        run = on_machine(r, large, "--limit", "host0=1G")
        must(run["evictions"] == 0 and run["moved"] == 0, run)
        sort = os.path.join(TRACES, "sort.trace")
        refused(r, "no recorded machine is there", "--trace", sort, "--machine", os.path.join(folder, "none"), status=1)
        with open(os.path.join(large, "topology", "nodes", "1", "properties"), "a", encoding="ascii") as f:
            f.write("mem_banks_count many\n")
        refused(r, "nodes/1/properties:", "--trace", sort, "--machine", large, status=1)
        fixtures = os.environ.get("SVMD_FIXTURES")
        for name in RECORDED if fixtures else ():
            with tarfile.open(os.path.join(fixtures, name + ".tar.xz")) as tar:
                tar.extractall(os.path.join(folder, name))
            recorded = os.path.join(folder, name, os.listdir(os.path.join(folder, name))[0])
            run = on_machine(r, recorded)
            must(run["evictions"] == 0, f"{name}: {run['evictions']} evictions where there is room")
            print(f"{name}: {len(nodes_of(recorded))} nodes, {run['faults']} faults")
    return 0


# ---- real programs ----


def write_numbers(path, count):
    x = 12345
    with open(path, "w", encoding="ascii") as file:
        for _ in range(count):
            x = (x * 1103515245 + 12345) % (1 << 31)
            file.write(f"{x}\n")


class Daemon:
    def __init__(self, r, folder):
        self.r = r
        self.run = os.path.join(folder, "run")
        state = os.path.join(folder, "state")
        os.mkdir(self.run)
        os.mkdir(state)
        self.process = subprocess.Popen(
            [r.path("svmd"), "--runtime-dir", self.run, "--state-dir", state, "--host-capacity", "256M",
             "--soft-node", "gpu0:size=256M,faults=on", "--log-level", "warning"]
        )
        self.ctl("wait", "ready", "--timeout", "30")

    def ctl(self, *args):
        run = subprocess.run([self.r.path("svmd-ctl"), "--runtime-dir", self.run, *args],
                             env={**os.environ, "SVMD_SOCKET": os.path.join(self.run, "svmd.sock")},
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        must(run.returncode == 0, f"svmd-ctl {args}: {run.returncode}: {run.stderr}")
        return run.stdout

    def record(self, name, limit, trace, *program):
        self.ctl("partition", "create", name, "--size", "16G", "--limit", f"host0={limit}M")
        self.ctl("trace", "record", trace, "--partition", name, "--", self.r.path("svmd-run"), "--partition", name,
                 *program)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def compare(name, said, did):
    for key in ("faults", "moved"):
        ratio = said[key] / max(did[key], 1)
        print(f"{name}: {key}: svmd-sim {said[key]}, svmd {did[key]}: {ratio:.2f}")
        must(LEAST <= ratio <= MOST, f"{name}: {key} is not within {LEAST} to {MOST}")


def real(r):
    with tempfile.TemporaryDirectory() as folder:
        numbers = os.path.join(folder, "numbers")
        write_numbers(numbers, 300000)
        programs = {
            "sort": ["sort", "-S", "30M", "--parallel=1", numbers, "-o", os.path.join(folder, "out")],
            "sqlite3": ["sqlite3", ":memory:", "create table t(a integer primary key, b); with recursive n(x) as (select 1 "
                        "union all select x+1 from n where x < 60000) insert into t select x, hex(x*7919) || "
                        "'-----------------------------------------------------------------------' from n; create "
                        "index i on t(b); select count(*) from t where b > 'A';"],
        }
        daemon = Daemon(r, folder)
        try:
            for name, program_ in programs.items():
                must(shutil.which(program_[0]), f"{program_[0]} is not installed")
                small, large = os.path.join(folder, name + "-4"), os.path.join(folder, name + "-8")
                daemon.record(name + "-4", 4, small, *program_)
                daemon.record(name + "-8", 8, large, *program_)
                said = r.runs("--trace", small, "--limit", "host0=8M")["balanced"]
                did = r.runs("--trace", large)["recorded"]
                must(r.runs("--trace", small)["recorded"]["faults"] > did["faults"] > 50, "too little memory for a test")
                compare(name, said, did)
        finally:
            daemon.end()
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["program", "machine", "real"])
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    return {"program": program, "machine": machine, "real": real}[args.what](Runner(args.build))


if __name__ == "__main__":
    sys.exit(main())
