#!/usr/bin/env python3
"""Puts what tests/gpu/run.py needs into one folder, for a machine with a device on which nothing can be built: programs
without debugging information, and the libraries that they need beside the C library.

usage: carry.py BUILD FOLDER"""
import os
import shutil
import subprocess
import sys

PROGRAMS = ("svmd", "svmd-keeper", "svmd-cuda", "svmd-probe-nvml", "gpu_cuda", "gpu_cuda_managed", "bench_cuda")
STANDIN = os.path.join("tests", "gpu", "standin")  # for the test of this
# The C library's own: they belong to the machine that they run on, as its loader does.
OF_THE_MACHINE = ("linux-vdso.so", "ld-linux", "libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libresolv.so")


def libraries(program):
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        words = line.split()
        if os.path.basename(words[0]).startswith(OF_THE_MACHINE):
            continue
        if words[1:3] == ["=>", "not"] or len(words) < 3:
            sys.exit(f"{program} needs {words[0]}, which is not here: build it first")
        yield words[0], words[2]


def main():
    build, folder = sys.argv[1:]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "lib"))
    for name in PROGRAMS:
        program = os.path.join(build, name)
        if not os.path.exists(program):
            sys.exit(f"{program} is missing: build it first")
        subprocess.run(["strip", "--strip-debug", "-o", os.path.join(folder, name), program], check=True)
        for library, path in libraries(program):
            shutil.copyfile(path, os.path.join(folder, "lib", library))
    shutil.copytree(os.path.join(build, STANDIN), os.path.join(folder, STANDIN), symlinks=True)
    size = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)
    print(f"{folder}: {size / (1 << 20):.0f} MiB; on the other machine: ./dev gpu")


main()
