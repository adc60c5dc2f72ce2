#!/usr/bin/env python3
"""
Makes recordings anew: record.py [--into FOLDER] BUILD [NAME ...]

Real programs under svmd-run and a real svmd, with a fourth of their memory or less, and each granule coming by itself:
then what faults is near to what is used. What svmd did is left out of the files; times go on without it.

Without names those that lie beside this file are made, and into it. `--into` makes all, or those named; what is said of
them in docs/managed.md is said of all. They were listed before any of them was recorded.
"""

import argparse
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile

HEADER, UNIT, MOVED = 96, 16, 17
UNITS = {1: 4, 2: 2, 3: 2, 4: 2, 5: 2, 9: 2, 10: 2, 11: 2, 12: 2, 13: 2, 14: 3, 16: 2, 17: 2}

SQL = """
create table t(a integer primary key, b);
with recursive n(x) as (select 1 union all select x+1 from n where x < 60000)
  insert into t select x, hex(x*7919%1000003) || printf('%.71c', '-') from n;
create index i on t(b);
select count(*) from t where b > 'A'; select sum(length(b)) from t; select count(distinct substr(b,1,6)) from t;
update t set b = b || 'x' where a % 7 = 0; select sum(length(b)) from t;
select count(*) from t where b like '%99%'; select max(b) from t where a % 3 = 1; select sum(length(b)) from t;
delete from t where b < '34'; select count(*), min(b), max(b) from t; select sum(length(b)) from t;
select sum(a) from t where b like '%9x';
"""

SQL_JOIN = """
create table a(k integer primary key, v); create table b(k integer, w);
with recursive n(x) as (select 1 union all select x+1 from n where x < 80000)
  insert into a select x, printf('%.90c', '-') || x from n;
insert into b select abs(k*7919) % 80000, v from a where k % 2;
select count(*) from a join b on a.k = b.k where length(v) > 3; create index j on b(k);
select sum(length(w)) from b join a using (k); select k % 100, count(*) from b group by 1 order by 2 limit 3;
"""

PYTHON = """
words = {}
for line in open('numbers'):
    words.setdefault(line[:4], []).append(line * 2)
order = sorted(words, key=lambda w: len(words[w]))
total = sum(len(x) for w in order for x in words[w])
flat = [x for w in words for x in words[w]]
flat.sort(key=lambda x: x[::-1])
print(total, len(set(x[3:9] for x in flat)))
"""

PYTHON_MATRIX = """
n = 700
a = [[float(i * j % 17) for j in range(n)] for i in range(n)]
b = [list(row) for row in zip(*a)]
print(sum(sum(x * y for x, y in zip(a[i], b[j])) for i in range(0, n, 175) for j in range(n)))
"""

PERL = """
while (<>) { chomp; $h{$_ % 50021} .= "$_,"; push @a, $_ }
@s = sort { $a <=> $b } @a; $t = 0; $t += length $h{$_ % 50021} for @s; print "$t\n";
"""

# name: limit on host memory (None: a fourth of what it has at most), numbers that are there to be read, program
PROGRAMS = {
    "sqlite3": ("9M", 0, ["sqlite3", ":memory:", SQL]),
    "sort": ("16M", 1000000, ["sort", "-S", "60M", "--parallel=1", "numbers", "-o", "sorted"]),
    "sort-unique": ("16M", 300000, ["sort", "-S", "60M", "--parallel=1", "-k1.5", "-u", "numbers", "-o", "sorted"]),
}
MORE = {
    "sqlite3-join": (None, 0, ["sqlite3", ":memory:", SQL_JOIN]),
    "sort-numeric": (None, 400000, ["sort", "-n", "-S", "40M", "--parallel=2", "numbers", "-o", "sorted"]),
    "sort-reverse": (None, 600000, ["sort", "-r", "-S", "80M", "--parallel=1", "numbers", "-o", "sorted"]),
    "xz": (None, 500000, ["xz", "-k", "-5", "-T1", "numbers"]),
    "bzip2": (None, 300000, ["bzip2", "-k", "numbers"]),
    "zstd": (None, 150000, ["zstd", "-q", "-17", "--single-thread", "numbers"]),
    "python3": (None, 250000, ["python3", "-c", PYTHON]),
    "python3-matrix": (None, 0, ["python3", "-c", PYTHON_MATRIX]),
    "perl": (None, 250000, ["perl", "-e", PERL, "numbers"]),
    "mawk": (None, 400000, ["mawk", "{ n[$1 % 90001] = n[$1 % 90001] $1 } END { for (i in n) t += length(n[i]); print t }",
                            "numbers"]),
    "jq": (None, 150000, ["jq", "-s", "sort | map(. * 2) | group_by(. % 100) | map(length) | add", "numbers"]),
    "shuf": (None, 1500000, ["shuf", "numbers", "-o", "shuffled"]),
    "tsort": (None, 200000, ["tsort", "numbers"]),
    "ptx": (None, 100000, ["ptx", "numbers", "permuted"]),
    "diff": (None, 400000, ["diff", "-q", "--speed-large-files", "numbers", "sorted-before"]),
    "gcc": (None, 0, ["gcc", "-O2", "-S", "functions.c", "-o", "functions.s"]),
}


def write_numbers(path, count):
    x = 12345
    with open(path, "w", encoding="ascii") as file:
        for _ in range(count):
            x = (x * 1103515245 + 12345) % (1 << 31)
            file.write(f"{x}\n")


def write_inputs(folder, count):
    numbers = os.path.join(folder, "numbers")
    write_numbers(numbers, count)
    with open(numbers, encoding="ascii") as file, open(numbers[: -len("numbers")] + "sorted-before", "w") as out:
        out.writelines(line for i, line in enumerate(file) if i % 50)
    with open(os.path.join(folder, "functions.c"), "w", encoding="ascii") as out:
        for i in range(600):
            out.write(
                f"int f{i}(int *a, int n) {{ int s = {i}; for (int i = 0; i < n; i++) for (int k = i; k < n; k++)"
                f" s += a[i] * a[k] ^ (s >> {i % 7}) ? a[(i + k) % n] : {i}; return s; }}\n"
            )


def a_fourth(folder, program):
    """Of the most that it had, as --limit."""
    child = os.fork()
    if not child:
        os.chdir(folder)
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        ended = subprocess.run(program, check=False).returncode
        own = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        with open(os.path.join(folder, "peak"), "w", encoding="ascii") as file:
            file.write(str(own if ended in (0, 1) else 0))
        os._exit(0)
    os.waitpid(child, 0)
    with open(os.path.join(folder, "peak"), encoding="ascii") as file:
        return f"{int(file.read()) // 4 // 64 * 64}K"


def asked(recording):
    """The recording without what svmd did."""
    at, passed, out = HEADER, 0, [recording[:HEADER]]
    while at < len(recording):
        size = UNITS.get(recording[at], 1) * UNIT
        passed += struct.unpack_from("<I", recording, at + 4)[0]
        if recording[at] != MOVED:
            passed = min(passed, 2**32 - 1)
            out.append(recording[at : at + 4] + struct.pack("<I", passed) + recording[at + 8 : at + size])
            passed = 0
        at += size
    return b"".join(out)


def record(build, folder, name):
    limit, numbers, program = {**PROGRAMS, **MORE}[name]
    run, state, conf = (os.path.join(folder, f"{name}-{what}") for what in ("run", "state", "conf"))
    file = os.path.join(folder, name + ".trace")
    os.mkdir(run)
    os.mkdir(state)
    write_inputs(folder, numbers)
    limit = limit or a_fourth(folder, program)
    for made in set(os.listdir(folder)) & {"numbers.xz", "numbers.bz2", "numbers.zst"}:
        os.unlink(os.path.join(folder, made))
    with open(conf, "w", encoding="ascii") as alone:
        alone.write("leaf-kib = 4\nahead-kib = 0\ndense-percent = 100\n")
    env = {**os.environ, "SVMD_SOCKET": os.path.join(run, "svmd.sock")}
    svmd = subprocess.Popen(
        [os.path.join(build, "svmd"), "--runtime-dir", run, "--state-dir", state, "--host-capacity", "512M",
         "--soft-node", "gpu0:size=512M,faults=on", "--policy", conf, "--log-level", "warning"]
    )
    try:
        for command in (
            ["wait", "ready", "--timeout", "30"],
            ["partition", "create", "p", "--size", "16G", "--limit", f"host0={limit}"],
            ["trace", "record", file, "--partition", "p", "--", os.path.join(build, "svmd-run"), "--partition", "p",
             *program],
        ):
            ctl = [os.path.join(build, "svmd-ctl"), "--runtime-dir", run, *command]
            ended = subprocess.run(ctl, env=env, cwd=folder, check=False, timeout=200).returncode
            if ended > (command[0] == "trace"):  # 1 is what diff says of files that differ
                raise subprocess.CalledProcessError(ended, ctl)
    finally:
        svmd.send_signal(signal.SIGINT)
        svmd.wait(30)
    with open(file, "rb") as made:
        return asked(made.read())


def main():
    beside = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--into")
    parser.add_argument("build")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    names = args.names or list({**PROGRAMS, **MORE} if args.into else PROGRAMS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            recording = record(os.path.abspath(args.build), folder, name)
        with open(os.path.join(args.into or beside, name + ".trace"), "wb") as out:
            out.write(recording)


if __name__ == "__main__":
    main()
