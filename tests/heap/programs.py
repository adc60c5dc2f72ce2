"""The programs that run with a managed heap: each a name, a command, and what it works on, made from a seed."""
import os
import random
import sys

PYTHON = sys.executable

PYTHON_JOB = r"""
import hashlib, multiprocessing, os, subprocess, sys, threading
size = int(sys.argv[1])
def digest(n):
    table = {i: str(i) * 3 for i in range(n)}
    return hashlib.md5(repr([table[i] for i in range(0, n, 7)]).encode()).hexdigest()
blocks = [bytes([i % 251]) * 5000 for i in range(size // 10)]
found = []
threads = [threading.Thread(target=lambda: found.append(digest(size))) for _ in range(4)]
[t.start() for t in threads]
for k in range(6):
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        more = "".join(str(j * k) for j in range(size))
        os.write(into, hashlib.md5(b"".join(blocks) + more.encode()).hexdigest().encode())
        os._exit(k)
    os.close(into)
    print(os.read(out, 100), os.waitpid(pid, 0)[1])
    os.close(out)
[t.join() for t in threads]
print(sorted(found))
print(subprocess.run(["sh", "-c", "seq 100 | while read a; do echo $((a * 2)); done | tail -n 3"],
                     capture_output=True).stdout)
with multiprocessing.Pool(2) as pool:
    print(pool.map(digest, [size // 4, size // 2, size]))
"""

SHELL_JOB = r"""
list=""
i=0
while [ $i -lt $1 ]; do list="$list $i:$((i * i))"; i=$((i + 1)); done
for word in $list; do echo "${word#*:}"; done | sort -n | (read first; echo "$first"; wc -l)
seq 200 | while read a; do echo $((a % 7)); done | sort | uniq -c
value=$(echo $(echo nested; (exit 3); echo $?) | tr a-z A-Z)
echo "$value"
exec 3<&0 4>&1
echo four >&4
exec 3<&- 4>&-
trap 'echo end' EXIT
"""

PERL_JOB = r"""
my $n = shift; my %h; my @all;
for my $i (1 .. $n) { $h{"key$i"} = [$i, "x" x ($i % 50)]; push @all, $i * 7919 % $n; }
my @sorted = sort { $a <=> $b } @all;
my $sum = 0; $sum += length($h{"key$_"}[1]) for 1 .. $n;
print "$sum $sorted[0] $sorted[-1] ", scalar(keys %h), "\n";
$| = 1; my $pid = fork();
if (!$pid) { my @more = map { $_ + 1 } @sorted; print "child ", $more[-1], " ", $h{"key5"}[0], "\n"; exit 0; }
waitpid($pid, 0); print "status $?\n", `echo from a shell`;
"""

MAKEFILE = """
objects = $(patsubst %.c,%.o,$(wildcard *.c))
all: $(objects)
\t@cat $(objects) | cksum
%.o: %.c
\t@gcc -O2 -c -o $@ $<
clean:
\t@rm -f $(objects)
"""


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def lines(folder, name, count, seed):
    """Random lines; `count` of 25 bytes or so."""
    draw = random.Random(seed)
    return write(folder, name, "".join(f"{draw.getrandbits(64):016x} {i}\n" for i in range(count)))


def source(folder, files, functions):
    os.makedirs(folder)
    for i in range(files):
        body = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
        for k in range(functions):
            body += (f"int f{i}_{k}(const char *a, int n) {{ int s = {k}; for (int i = 0; i < n; i++) "
                     f"s = s * 31 + a[i] + (int)strlen(a) % {k + 2}; return s; }}\n")
        write(folder, f"part{i}.c", body)
    write(folder, "Makefile", MAKEFILE)
    return folder


class Job:
    """`command` runs in `folder` with the standard input `given`; `again` runs before each run."""

    def __init__(self, name, folder, command, given=None, again=None):
        self.name, self.folder, self.command, self.given, self.again = name, folder, command, given, again


def jobs(folder, seed, long):
    scale = 10 if long else 1
    text = lines(folder, "lines", 120_000 * scale, seed)
    sort_text = lines(folder, "big", 20_000_000, seed + 1) if long else lines(folder, "big", 40_000, seed + 1)
    sql = write(folder, "script.sql", f"""create table t(a text, b int);
.mode list
.separator " "
.import {text} t
create index ta on t(a);
create index tb on t(b);
select count(*), min(a), max(b) from t;
select substr(a, 1, 1) x, count(*), sum(b) from t group by x order by x;
select a from t where b % 10007 = 5 order by a limit 20;
delete from t where b % 3 = 0;
select count(*), sum(b) from t where a > '8';
""")
    python = write(folder, "job.py", PYTHON_JOB)
    shell = write(folder, "job.sh", SHELL_JOB)
    perl = write(folder, "job.pl", PERL_JOB)
    built = source(os.path.join(folder, "built"), 8 if long else 3, 20 if long else 4)
    sort = ["sort", "-S", "600M" if long else "64M", "--parallel=2", sort_text]
    return [
        Job("sqlite3", folder, ["sqlite3", ":memory:"], given=sql),
        Job("sort", folder, sort),
        Job("xz", folder, ["xz", "-T2", "-0", "-k", "-c", text]),
        Job("unxz", folder, ["xz", "-d", "-T2", "-k", "-c", os.path.join(folder, "lines.xz")],
            again=["sh", "-c", f"[ -e {text}.xz ] || xz -T2 -0 -k {text}"]),
        Job("python3", folder, [PYTHON, python, str(20_000 * scale)]),
        Job("bash", folder, ["bash", shell, "1500"]),
        Job("dash", folder, ["dash", shell, "3000"]),
        Job("make", built, ["make", "-s", "-j2"], again=["make", "-s", "clean"]),
        Job("perl", folder, ["perl", perl, str(6_000 * scale)]),
    ]
