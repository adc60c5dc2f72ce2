#!/usr/bin/env python3
"""The tests and the rows of CUDA with this machine's own libcuda.so.1, each whatever became of those before it; all
within ten minutes.

usage: run.py [--standin] [FOLDER]   where the programs are, built or carried there (carry.py). Without it: only look for
a device. --standin: with the stand-in library, named by LD_LIBRARY_PATH.

Exit status 77: there is no NVIDIA device."""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Where drivers put the library without telling the loader.
FOLDERS = ("", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/nvidia/driver/usr/lib/x86_64-linux-gnu")
NO_LIBRARY, STANDIN, NO_DEVICE = 3, 4, 100
# What CUDA says, in a process of its own: one that has begun cannot be forked. The name and version need not be known.
LOOK = """
import ctypes, os
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    os._exit(3)
if hasattr(cuda, "standin_cuda"):
    os._exit(4)
device, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(100)
code = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
if code:
    print(code)
    os._exit(5)
cuda.cuDeviceGetName(name, len(name), device)
cuda.cuDriverGetVersion(ctypes.byref(version))
print(f"{name.value.decode()}, CUDA {version.value // 1000}.{version.value % 1000 // 10}", flush=True)
os._exit(0)
"""


def with_folders(*folders):
    path = [f for f in folders if f] + [os.environ[k] for k in ("LD_LIBRARY_PATH",) if os.environ.get(k)]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(path)}


def find(tell):
    """The folder of the library, or how to end."""
    for folder in FOLDERS:
        done = subprocess.run([sys.executable, "-c", LOOK], env=with_folders(folder), capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode == 0:
            if tell:
                print(f"with {done.stdout.strip()}", flush=True)
            return folder, 0
        if done.returncode != NO_LIBRARY:
            break
    if done.returncode == STANDIN:
        why = "libcuda.so.1 is the tests' stand-in: take its folder out of LD_LIBRARY_PATH"
    elif done.returncode == NO_LIBRARY:
        why = "this machine has no libcuda.so.1, which comes with NVIDIA's driver"
    elif done.stdout.strip() == str(NO_DEVICE):
        why = "libcuda.so.1 says that this machine has no NVIDIA device"
    else:
        print(f"this machine's libcuda.so.1 does not begin: CUDA error {done.stdout.strip() or done.stderr}; look whether "
              "nvidia-smi works", file=sys.stderr)
        return None, 1
    print(f"./dev gpu does not apply here: {why}\n"
          "(the same programs run with a stand-in library in ./dev test: gpu_cuda)", file=sys.stderr)
    return None, 77


def logs_since(start):
    for path in glob.glob("/tmp/svmd-system-*/log"):
        if os.stat(path).st_mtime >= start:
            with open(path, encoding="utf-8", errors="replace") as f:
                print(f"-- {path}\n{f.read()[-3000:]}", flush=True)


def run(what, words, environment, seconds):
    print(f"\n== {what}", flush=True)
    start = time.time()
    try:
        status = subprocess.run(words, env=environment, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"it did not end within {seconds} s", flush=True)
        status = 1
    if status:
        logs_since(start)
    return what, time.time() - start, status


def run_all(folder, library, rows):
    environment = with_folders(os.path.join(folder, "lib"), library)
    environment["SVMD_PROGRAMS"] = folder
    done = [run(name, [os.path.join(folder, name)], environment, seconds)
            for name, seconds in (("gpu_cuda", 120), ("gpu_cuda_managed", 300))]
    with tempfile.NamedTemporaryFile(prefix="svmd-rows-", suffix=".json") as f:
        bench = [sys.executable, os.path.join(HERE, "..", "bench", "run.py"), "--build", folder, "--json", f.name]
        what, seconds, status = run(" ".join(rows), [*bench, *rows], environment, 150)
        measured = f.read()
        missing = [row for row in rows if row not in ([r["name"] for r in json.loads(measured)] if measured else [])]
    if missing:
        print(f"not measured: {', '.join(missing)}")
    done.append((what, seconds, 1 if missing else status))
    print()
    for what, seconds, status in done:
        print(f"{'FAILED' if status else 'ok':7s} {seconds:4.0f} s  {what}")
    return 1 if any(status for _, _, status in done) else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--standin", action="store_true")
    parser.add_argument("folder", nargs="?")
    arguments = parser.parse_args()
    library, status = ("", 0) if arguments.standin else find(arguments.folder)
    if status or not arguments.folder:
        return status
    rows = [row + ("_standin" if arguments.standin else "") for row in ("cuda_create", "cuda_map", "cuda_handover")]
    return run_all(os.path.abspath(arguments.folder), library, rows)


sys.exit(main())
