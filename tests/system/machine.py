#!/usr/bin/env python3
"""svmd comes up as a recorded machine, and `svmd-ctl node list|show` prints what the recording says: nodes, capacities,
hives and every link, compared with a counter that reads the files by itself. Generated machines always; the recorded ones
where SVMD_FIXTURES names their folder."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENERATOR = os.path.join(SOURCE, "tests/backend/mkmachine.py")
COUNTER = os.path.join(SOURCE, "tests/backend/count_machine.py")
RECORDED = {  # what their pages say of them: GPU nodes, hives, XGMI links
    "kfd-mi210-8gpu-2hives": (8, 2, 24),
    "kfd-mi308x-8gpu-cpx4": (32, None, 992),
}


def expected(machine):
    """node -> (capacity, hive, links), and the total line, from the files alone."""
    nodes, total, name = {}, "", None
    for line in subprocess.check_output([sys.executable, COUNTER, machine], text=True).splitlines():
        words = line.split()
        if words[0] == "total":
            total = dict(w.split("=") for w in words[1:])
        elif line.startswith("  "):
            nodes[name][2].append((words[0], words[1], int(words[2]), int(words[3]), int(words[4])))
        else:
            name = words[0]
            nodes[name] = (int(words[1]), int(words[2]), [])
    return nodes, {k: int(v) for k, v in total.items()}


class Daemon:
    def __init__(self, build, machine):
        self.build, self.dir = build, tempfile.mkdtemp(prefix="svmd-machine-")
        self.log = open(os.path.join(self.dir, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([os.path.join(build, "svmd"), "--config", "/dev/null", "--runtime-dir", self.dir + "/run",
                                         "--state-dir", self.dir + "/state", "--machine", machine], stderr=self.log)

    def ctl(self, *words):
        return subprocess.run([os.path.join(self.build, "svmd-ctl"), "--runtime-dir", self.dir + "/run", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def wait(self):
        deadline = time.monotonic() + 30
        while self.ctl("status").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                sys.exit("svmd did not come up: " + self.log.read())
            time.sleep(0.05)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        shutil.rmtree(self.dir)
        return code


def check(build, machine, name):
    nodes, total = expected(machine)
    daemon = Daemon(build, machine)
    wrong = []
    try:
        daemon.wait()
        rows = {r["name"]: r for r in json.loads(daemon.ctl("--json", "node", "list").stdout)}
        if list(rows) != list(nodes):
            wrong.append(f"nodes are {list(rows)}, the recording has {list(nodes)}")
        for node, (capacity, hive, links) in nodes.items():
            shown = json.loads(daemon.ctl("--json", "node", "show", node).stdout)
            seen = sorted((l["to"], l["type"], l["weight"], l["min_bandwidth"], l["max_bandwidth"]) for l in shown["links"])
            if (shown["capacity"], shown["hive"] or 0) != (capacity, hive):
                wrong.append(f"{node} shows {shown['capacity']} bytes, hive {shown['hive']}; recorded {capacity}, {hive}")
            if seen != sorted(links):
                wrong.append(f"{node} shows {len(seen)} links, recorded {len(links)}, or they differ")
    finally:
        code = daemon.end()
    if code != 0:
        wrong.append(f"svmd ended with {code}")
    print(f"{name}: {total['gpus']} GPU nodes, {total['hives']} hives, {total['XGMI']} XGMI links: "
          + ("as recorded" if not wrong else "; ".join(wrong)))
    return not wrong, total


def generated(build, gpus, hives):
    with tempfile.TemporaryDirectory() as folder:
        machine = os.path.join(folder, "m")
        subprocess.check_call([sys.executable, GENERATOR, machine, "--gpus", str(gpus), "--hives", str(hives), "--mem", "2G",
                               "--cpus", "2"])
        good, total = check(build, machine, f"generated {gpus} x {hives}")
        return good and total["gpus"] == gpus and total["hives"] == hives


def recorded(build, fixtures, name, want):
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(os.path.join(fixtures, name + ".tar.xz")) as tar:
            tar.extractall(folder)
        good, total = check(build, os.path.join(folder, os.listdir(folder)[0]), name)
        gpus, hives, xgmi = want
        return good and total["gpus"] == gpus and hives in (None, total["hives"]) and total["XGMI"] == xgmi


def malformed(build):
    with tempfile.TemporaryDirectory() as folder:
        machine = os.path.join(folder, "m")
        subprocess.check_call([sys.executable, GENERATOR, machine, "--gpus", "2", "--hives", "1", "--mem", "1G", "--cpus", "1"])
        for root, _, files in os.walk(machine):
            if "properties" in files and root.endswith("/nodes/1"):
                path = os.path.join(root, "properties")
                with open(path, encoding="ascii") as f:
                    lines = f.read().splitlines()
                lines[2] = "mem_banks_count many"
                with open(path, "w", encoding="ascii") as f:
                    f.write("\n".join(lines) + "\n")
        run = subprocess.run([os.path.join(build, "svmd"), "--config", "/dev/null", "--check-config", "--machine", machine],
                             stderr=subprocess.PIPE, text=True, check=False)
        good = run.returncode != 0 and "nodes/1/properties:3:" in run.stderr
        print("a malformed recording: " + (run.stderr.strip() if good else f"not refused with file and line: {run.stderr!r}"))
        return good


def main():
    build, fixtures = sys.argv[1], os.environ.get("SVMD_FIXTURES")
    results = [generated(build, 8, 2), generated(build, 63, 8), malformed(build)]
    if fixtures:
        results += [recorded(build, fixtures, name, want) for name, want in RECORDED.items()]
    else:
        print("recorded machines: not applicable, SVMD_FIXTURES is not set")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
