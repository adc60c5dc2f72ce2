#!/usr/bin/env python3
"""`./dev gpu` where nothing can be built, with the stand-in library: the folder that carry.py makes has all that run.py
needs, wherever it lies; and run.py takes no stand-in for a device.

usage: test_carried.py BUILD"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def call(script, *words, **environment):
    return subprocess.run([sys.executable, os.path.join(HERE, script), *words], env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=500, check=False)


def foreign(folder):
    """Libraries that programs find outside of the folder, beside the C library's."""
    lib = os.path.join(folder, "lib")
    for name in sorted(os.listdir(folder)):
        program = os.path.join(folder, name)
        if not os.path.isfile(program):
            continue
        said = subprocess.run(["ldd", program], env={**os.environ, "LD_LIBRARY_PATH": lib}, capture_output=True,
                              text=True, check=True).stdout
        for line in said.splitlines():
            library = line.split()[0]
            if "=>" in line and not line.split()[2].startswith(lib + "/") and not library.startswith(("libc.", "libm.")):
                yield f"{name} needs {library}"


def check(good, what, said):
    if not good:
        print(f"{what}:\n{said.stdout}{said.stderr}")
        sys.exit(1)


def main():
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="svmd-carried-") as place:
        os.chmod(place, 0o755)
        made, folder = os.path.join(place, "made"), os.path.join(place, "elsewhere")
        said = call("carry.py", build, made)
        check(said.returncode == 0, "carrying", said)
        shutil.move(made, folder)
        outside = list(foreign(folder))
        check(not outside, f"not carried: {outside}", said)
        size = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)
        check(size < 32 << 20, f"{size} bytes are more than a copy of a folder of sources should grow by", said)
        standin = os.path.join(folder, "tests", "gpu", "standin")
        said = call("run.py", LD_LIBRARY_PATH=standin)
        check(said.returncode == 77 and "stand-in" in said.stderr, "the stand-in is no device", said)
        if os.geteuid() != 0:
            print("not run as root: the programs were not run")
            sys.exit(0)
        said = call("run.py", "--standin", folder, LD_LIBRARY_PATH=standin)
        rows = all(f"cuda_{row}_standin" in said.stdout for row in ("create", "map", "handover"))
        check(said.returncode == 0 and rows and said.stdout.count("\nok ") == 3, "with the stand-in", said)
        print(said.stdout[-400:])
        os.rename(os.path.join(folder, "svmd-keeper"), os.path.join(folder, "gone"))
        said = call("run.py", "--standin", folder, LD_LIBRARY_PATH=standin)
        check(said.returncode == 1 and said.stdout.count("\nFAILED ") == 3, "without a program that it needs", said)


main()
