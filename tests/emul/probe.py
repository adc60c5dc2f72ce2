#!/usr/bin/env python3
"""svmd-probe-kfd, with Debian's own libhsakmt under it, tells of an emulated machine what was recorded of it: nodes,
capacities, hives, every link, and XNACK. Generated machines always; recorded ones where SVMD_FIXTURES names their folder.

usage: probe.py BUILD"""
import contextlib
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BACKEND = os.path.join(os.path.dirname(HERE), "backend")
RECORDED = ("kfd-apu-strixpoint", "kfd-mi210-8gpu-2hives", "kfd-mi308x-8gpu-cpx4")
GENERATED = ((1, 0), (8, 2), (63, 8))  # GPUs, hives
CEILING = 20.0  # seconds of CPU for a probe and all that serves it: what only a walk in a walk would take
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # for thousands of small files


def recorded(machine):
    """Node -> (kind, bytes, hive, links as (to, type, weight, least, most)), from the files alone."""
    text = subprocess.check_output([sys.executable, os.path.join(BACKEND, "count_machine.py"), machine], text=True)
    lines = [line.split() for line in text.splitlines() if not line.startswith("total")]
    heads = [(i, words) for i, words in enumerate(lines) if words[0] and len(words) == 3]
    number = {words[0]: n for n, (_, words) in enumerate(heads)}
    nodes = []
    for n, (i, (name, size, hive)) in enumerate(heads):
        until = heads[n + 1][0] if n + 1 < len(heads) else len(lines)
        links = {(number[to], kind.lower(), int(weight), int(least), int(most))
                 for to, kind, weight, least, most, _ in lines[i + 1:until]}
        nodes.append(("gpu" if name.startswith("gpu") else "cpu", int(size), int(hive), links))
    return nodes


def told(text):
    nodes, rest = [], {}
    for words in map(str.split, text.splitlines()):
        if words[0] == "node":
            nodes.append((words[2], int(words[4]) // 4096 * 4096, int(words[6], 16), set()))
        elif words[0] == "link":
            nodes[int(words[1])][3].add((int(words[2]), words[3], *map(int, words[4:])))
        else:
            rest.setdefault(words[0], words[1:])
    return nodes, rest


def differences(want, have):
    if len(want) != len(have):
        yield f"{len(have)} nodes, recorded are {len(want)}"
    for n, (a, b) in enumerate(zip(want, have)):
        if a[:3] != b[:3]:
            yield f"node {n} is {b[:3]}, recorded is {a[:3]}"
        if a[3] != b[3]:
            yield f"node {n} has links {sorted(b[3] - a[3])} that are not recorded, and lacks {sorted(a[3] - b[3])}"


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def all_recorded():
    """No recording lies unused in the folder. Without a folder, which ones are not run is said."""
    folder = os.environ.get("SVMD_FIXTURES")
    if not folder:
        print("recorded machines: not applicable, SVMD_FIXTURES is not set: " + ", ".join(RECORDED))
        return ()
    there = {name[:-len(".tar.xz")] for name in os.listdir(folder) if name.startswith("kfd-") and name.endswith(".tar.xz")}
    if there != set(RECORDED):
        print(f"recorded machines are {sorted(there)}, and this test knows {sorted(RECORDED)}")
        sys.exit(1)
    return RECORDED


def need_emulator():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("not applicable: an emulated machine needs root and /dev/fuse")
        sys.exit(0)


def complete(machine):
    subprocess.check_call([sys.executable, os.path.join(HERE, "mksys.py"), machine])
    return machine


@contextlib.contextmanager
def generated(gpus, hives):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        subprocess.check_call([sys.executable, os.path.join(BACKEND, "mkmachine.py"), folder, "--gpus", str(gpus), "--hives",
                               str(hives), "--cpus", "1", "--mem", "64G"])
        yield complete(folder)


@contextlib.contextmanager
def unpacked(name):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        with tarfile.open(os.path.join(os.environ["SVMD_FIXTURES"], name + ".tar.xz")) as tar:
            tar.extractall(folder)
        yield complete(os.path.join(folder, os.listdir(folder)[0]))


def check(build, machine, name):
    preload = f"LD_PRELOAD={build}/tests/emul/libsvmd-emul-fstat.so"
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        out = os.path.join(folder, "out")
        before, start = cpu_seconds(), time.monotonic()
        status = subprocess.call([os.path.join(HERE, "enter.sh"), f"{build}/svmd-emul", machine, "sh", "-c",
                                  f"{preload} ASAN_OPTIONS=verify_asan_link_order=0 exec {build}/svmd-probe-kfd >{out}"])
        cpu, seconds = cpu_seconds() - before, time.monotonic() - start
        if status != 0:
            print(f"{name}: svmd-probe-kfd ended with {status}")
            return False
        with open(out, encoding="ascii") as f:
            nodes, rest = told(f.read())
    wrong = list(differences(recorded(machine), nodes))
    for word, value in (("version", ["1", "11"]), ("xnack", ["0"]), ("error", None)):
        if rest.get(word) != value:
            wrong.append(f"{word} is {rest.get(word)}, not {value}")
    if cpu > CEILING:
        wrong.append(f"it took {cpu:.1f} s of CPU")
    print(f"{name}: {sum(n[0] == 'gpu' for n in nodes)} GPU nodes, {sum(len(n[3]) for n in nodes)} links, in {seconds:.2f} s ({cpu:.2f} of CPU): "
          + ("as recorded" if not wrong else "; ".join(wrong[:5])), flush=True)
    return not wrong


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    need_emulator()
    good = True
    for gpus, hives in GENERATED:
        with generated(gpus, hives) as machine:
            good &= check(build, machine, f"generated {gpus} x {hives}")
    for name in all_recorded():
        with unpacked(name) as machine:
            good &= check(build, machine, name)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
