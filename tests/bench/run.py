#!/usr/bin/env python3
"""Measures svmd against the limits of the machine that it runs on.

Each row is what svmd takes, and what the machine takes for the same without svmd, measured in turns in one run on the
same CPUs. A hold is a promise: beyond it the exit status is 1. A reach is what the design can do; whether it is met is
printed. Everything is a median; min and max are those of the ratio, or of the value where there is no limit.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30  # seconds for svmd to come up or end
PATIENCE_ROWS = 600  # seconds for a program that measures

# A row: the program that measures it, what it holds, what it reaches. None: for information.
ROWS = {
    "rtt": ("wire", "<=1.5", "<=1.35"),
    "rtt_one_cpu": ("wire", None, None),
    "batch": ("wire", None, ">=8"),
    "batch_one_cpu": ("wire", None, None),
    "ops_per_second": ("wire", ">=100000", ">=500000"),
    "va_alloc_100k": ("va", "<=0.5", "<=0.3"),
    "va_alloc_1m": ("va", "<=2.0", "<=1.6"),
    "sessions_10k": ("sessions", "<=1.3", "<=1.15"),
    "bytes_per_session": ("sessions", None, "<=4096"),
    "bytes_per_reservation": ("reservations", None, "<=256"),
    "journal_bytes_per_reservation": ("reservations", None, None),
    "reap": ("reap", "<=3", "<=2"),
    "journal": ("journal", None, "<=1.1"),
    "restart_1k": ("restart", None, "<=5"),
    "restart_100k": ("restart", None, "<=150"),
    "fault_copy": ("faults", "<=1.2", "<=1.0"),
    "fault_continue": ("faults", "<=1.0", "<=0.8"),
    "fault_copy_one_cpu": ("faults", None, None),
    "fault_continue_one_cpu": ("faults", None, None),
    "fault_16_threads": ("faults", None, ">=1.5" if (os.cpu_count() or 1) < 16 else ">=2"),
    "fault_p99_under_migration": ("faults", None, None),
    "out_64k": ("moves", "<=2.8", "<=2.4"),
    "out_2m": ("moves", "<=2.5", "<=2.2"),
    "in_2m": ("moves", "<=3.0", "<=2.6"),
    "out_2m_huge": ("moves", "<=1.2", "<=1.05"),
    "in_2m_huge": ("moves", "<=1.2", "<=1.05"),
    "prefetch_2m": ("moves", ">=1.1", ">=1.3"),
    "evict_2m": ("moves", "<=1.4", "<=1.2"),
    "revoke_2m": ("moves", None, "<=2"),
    "hammer_migrate": ("moves", None, ">=0.15"),
    "svmd_run_overhead": ("run", None, "<=1.15"),
    "svmd_run_plain": ("run", None, None),
    "policy_decide": ("policy", "<=1000", "<=200"),
    "hostile_mm": ("hostile", "<=3", "<=1.5"),
    "partitions_2000": ("partitions", None, "<=1.1"),
    "admission": ("admission", "<=1.5", "<=1.3"),
    "advise_1m": ("advise", None, "<=2"),
    "account_note": ("notes", None, None),
    "trace_cost": ("notes", None, None),
    "hostile_share": ("share", "<=2206", "<=1055"),  # docs/security.md, "Who is served when"
    "hostile_p99": ("share", None, None),
    "bind_vector": ("bind", None, ">=10"),
    "drm_delegated": ("bind", None, None),
    "grant_rtt": ("grant", "<=2.5", "<=2.2"),
    "cuda_create": ("cuda", None, "<=1.1"),
    "cuda_map": ("cuda", None, "<=1.1"),
    "cuda_handover": ("cuda", None, None),
    "cuda_create_standin": ("cuda_standin", None, "<=1.1"),
    "cuda_map_standin": ("cuda_standin", None, "<=1.1"),
    "cuda_handover_standin": ("cuda_standin", None, None),
    "container_start": ("container", None, "<=1.15"),
    "container_run": ("container", None, None),
}
# A program: the daemons that it is given.
PROGRAMS = {"wire": ["svmd"], "va": [], "sessions": ["svmd", "svmd"], "reservations": ["svmd"], "reap": ["svmd"],
            "journal": ["svmd", "svmd-unjournaled"], "restart": ["svmd", "svmd"], "faults": ["svmd"], "moves": ["svmd"],
            "hostile": ["svmd"], "share": ["svmd"], "run": ["svmd"], "admission": ["svmd"], "advise": ["svmd"],
            "policy": [], "partitions": ["svmd", "svmd"], "notes": ["svmd", "svmd-unaccounted"], "bind": [],
            "grant": ["svmd"], "cuda": ["svmd"], "cuda_standin": ["svmd"], "container": ["svmd"]}
# Programs that run on an emulated machine, which needs root and /dev/fuse.
EMULATED = {"bind": os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emul", "drm", "served.py")}
# Programs that are scripts beside this one; they are told where the others are.
SCRIPTS = {"container": os.path.join(os.path.dirname(os.path.abspath(__file__)), "container_start.py")}

# Programs that need a real device, and those that are others with a library in its place, under another name.
NVIDIA = ("cuda",)
STANDINS = {"cuda_standin": ("cuda", {"STANDIN_CUDA_BYTES": str(4 << 30), "STANDIN_CUDA_TIMES": "1"})}

HUGE_PAGES = 64  # that bench_moves uses, and some


class BenchError(Exception):
    """A sentence for the person who runs the benchmark."""


class Svmd:
    """svmd and its keeper in folders of their own, on the second CPU that this process may use, where the
    programs look for them."""

    def __init__(self, build, folder, program):
        self.runtime, self.log = os.path.join(folder, "run"), os.path.join(folder, "svmd.log")
        os.makedirs(folder)
        config = os.path.join(folder, "svmd.conf")
        with open(config, "w", encoding="ascii"):
            pass
        cpus = sorted(os.sched_getaffinity(0))
        cpu = cpus[1 % len(cpus)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(build, program), "--config", config, "--runtime-dir", self.runtime,
                 "--state-dir", os.path.join(folder, "state"), "--soft-node", "soft0:size=256M",
                 "--cuda-node", "cuda0:device=cuda:0,size=1G",
                 "--log-level", "warning"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        self._wait_ready()

    def _wait_ready(self):
        end = time.monotonic() + PATIENCE
        while not os.path.exists(os.path.join(self.runtime, "admin.sock")):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise BenchError(f"svmd does not come up:\n{self.complaints()}")
            time.sleep(0.02)

    def complaints(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def stop(self):
        """SIGINT ends the keeper too; a svmd that crashed leaves it behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode != 0:
            for pid in self._keepers():
                os.kill(pid, signal.SIGKILL)

    def _keepers(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == b"svmd-keeper" and self.runtime.encode() in words:
                found.append(int(pid))
        return found


class HugePages:
    """Sets huge pages of 2 MiB aside where fewer are free, and gives them back."""

    PATH = "/proc/sys/vm/nr_hugepages"

    def __init__(self, count):
        self.count = count

    @classmethod
    def _set(cls, count):
        try:
            with open(cls.PATH, "w", encoding="ascii") as file:
                file.write(str(count))
        except OSError as error:
            raise BenchError(f"rows of huge pages need some: sysctl vm.nr_hugepages={count} ({error.strerror})") from None

    def __enter__(self):
        with open(self.PATH, encoding="ascii") as file:
            self.before = int(file.read())
        if self.before < self.count:
            self._set(self.count)

    def __exit__(self, *_):
        if self.before < self.count:
            self._set(self.before)


def program_of(build, name):
    """What is executed, and in which environment."""
    environment = dict(os.environ)
    if name in STANDINS:
        name, more = STANDINS[name]
        others = os.environ.get("LD_LIBRARY_PATH")
        path = [os.path.join(build, "tests", "gpu", "standin"), *([others] if others else [])]
        environment |= more | {"LD_LIBRARY_PATH": ":".join(path)}
    words = [sys.executable, SCRIPTS[name], build] if name in SCRIPTS else [os.path.join(build, f"bench_{name}")]
    return words, environment


def run_program(build, folder, name):
    """The rows that a program prints."""
    daemons = []
    try:
        for i, program in enumerate(PROGRAMS[name]):
            daemons.append(Svmd(build, os.path.join(folder, f"{name}-{i}"), program))
        arguments = [word for svmd in daemons for word in (svmd.runtime, str(svmd.process.pid))]
        before = [sys.executable, EMULATED[name], build] if name in EMULATED else []
        program, environment = program_of(build, name)
        done = subprocess.run([*before, *program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE_ROWS, check=False, env=environment)
        if done.returncode != 0:
            said = done.stderr.strip() or f"it ended with {done.returncode}"
            raise BenchError("\n".join([f"bench_{name}: {said}"] + [s.complaints() for s in daemons]).strip())
        return [json.loads(line) for line in done.stdout.splitlines()]
    except subprocess.TimeoutExpired:
        raise BenchError(f"bench_{name} has not ended after {PATIENCE_ROWS} s") from None
    finally:
        for svmd in daemons:
            svmd.stop()


# Their goals are about the value, whatever it is compared with.
ABSOLUTE = ("restart_1k", "restart_100k")


def measured(row):
    """What a goal is about."""
    absolute = row["ratio"] is None or row["unit"] == "bytes" or row["name"] in ABSOLUTE
    return row["value"] if absolute else row["ratio"]


def met(row, goal):
    bound = float(goal[2:])
    return measured(row) <= bound if goal.startswith("<=") else measured(row) >= bound


def describe(row):
    def number(value):
        return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    _, hold, reach = ROWS[row["name"]]
    return [row["name"], number(row["value"]), row["unit"], number(row["limit"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.3f}", f"{number(row['min'])} to {number(row['max'])}",
            "-" if hold is None else f"{hold} {'held' if met(row, hold) else 'BEYOND'}",
            "-" if reach is None else f"{reach} {'met' if met(row, reach) else 'missed'}"]


def print_table(rows):
    table = [["row", "value", "unit", "limit", "ratio", "range", "hold", "reach"], *map(describe, rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip())


def applicable(wanted):
    """Without those that cannot be measured here, which is said."""
    missing = []
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        missing.append(("root and /dev/fuse", EMULATED))
    if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg"))):
        missing.append(("an NVIDIA device", NVIDIA))
    if os.geteuid() != 0 or not shutil.which("runc") or not os.path.exists("/bin/busybox"):
        missing.append(("root, runc and busybox-static", SCRIPTS))
    for what, programs in missing:
        away = [name for name in wanted if ROWS[name][0] in programs]
        wanted = [name for name in wanted if name not in away]
        if away:
            print(f"not applicable without {what}: {', '.join(away)}", file=sys.stderr)
    return wanted


def measure(build, wanted):
    rows, failures = {}, []
    wanted = applicable(wanted)
    with tempfile.TemporaryDirectory(prefix="svmd-bench-") as folder:
        os.chmod(folder, 0o755)
        for program in dict.fromkeys(ROWS[name][0] for name in wanted):
            print(f"bench_{program} ...", file=sys.stderr, flush=True)
            try:
                with HugePages(HUGE_PAGES if program == "moves" else 0):
                    for row in run_program(build, folder, program):
                        rows[row["name"]] = row
            except BenchError as error:
                failures.append(str(error))
    for name in wanted:
        if name not in rows:
            failures.append(f"row {name} is missing")
    return [rows[name] for name in wanted if name in rows], failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, metavar="DIR", help="where the programs are")
    parser.add_argument("--json", metavar="FILE", help="write the rows there as JSON")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows (default: all of {', '.join(ROWS)})")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if shutil.disk_usage(tempfile.gettempdir()).free < 64 << 20:
        parser.error(f"{tempfile.gettempdir()} has less than 64 MiB free; name another folder in TMPDIR")

    rows, failures = measure(os.path.abspath(arguments.build), arguments.rows or list(ROWS))
    for row in rows:
        _, hold, reach = ROWS[row["name"]]
        row["goal"] = hold or reach
        if hold and not met(row, hold):
            failures.append(f"row {row['name']} is beyond its hold: {measured(row):g}, asked was {hold}")
    print_table(rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump([{key: row[key] for key in ("name", "value", "unit", "limit", "ratio", "goal", "min", "max",
                                                  "runs")} for row in rows], file, indent=1)
            file.write("\n")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
