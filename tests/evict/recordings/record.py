#!/usr/bin/env python3
"""
Makes the recordings beside this file anew: record.py BUILD [NAME ...]

Real programs under svmd-run and a real svmd, with a fourth of their memory or less, and each granule coming by itself:
then what faults is near to what is used. What svmd did is left out of the files; times go on without it.
"""

import os
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

# name: limit on host memory, numbers that are there to be sorted, program
PROGRAMS = {
    "sqlite3": ("9M", 0, ["sqlite3", ":memory:", SQL]),
    "sort": ("16M", 1000000, ["sort", "-S", "60M", "--parallel=1", "numbers", "-o", "sorted"]),
    "sort-unique": ("16M", 300000, ["sort", "-S", "60M", "--parallel=1", "-k1.5", "-u", "numbers", "-o", "sorted"]),
}


def write_numbers(path, count):
    x = 12345
    with open(path, "w", encoding="ascii") as file:
        for _ in range(count):
            x = (x * 1103515245 + 12345) % (1 << 31)
            file.write(f"{x}\n")


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
    limit, numbers, program = PROGRAMS[name]
    run, state, conf = (os.path.join(folder, f"{name}-{what}") for what in ("run", "state", "conf"))
    file = os.path.join(folder, name + ".trace")
    os.mkdir(run)
    os.mkdir(state)
    write_numbers(os.path.join(folder, "numbers"), numbers)
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
            subprocess.run(ctl, env=env, cwd=folder, check=True, timeout=200)
    finally:
        svmd.send_signal(signal.SIGINT)
        svmd.wait(30)
    with open(file, "rb") as made:
        return asked(made.read())


def main():
    beside = os.path.dirname(os.path.abspath(__file__))
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or list(PROGRAMS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            recording = record(build, folder, name)
        with open(os.path.join(beside, name + ".trace"), "wb") as out:
            out.write(recording)


if __name__ == "__main__":
    main()
