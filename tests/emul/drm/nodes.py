#!/usr/bin/env python3
"""A real svmd, started on an emulated machine (render.py), lists its cards: `node list`, `node show` and `doctor` say what
the drivers' models say.

usage: nodes.py BUILD             (render.py BUILD nodes.py BUILD: on the emulated machine)"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30
WANTED = {"drm0": ("xe", 12 << 30, 24), "drm1": ("amdgpu", 64 << 30, 0), "drm2": ("nouveau", 0, 0)}


def main():
    build = sys.argv[1]
    here = os.path.abspath(__file__)
    if not os.path.exists("/dev/dri/renderD130"):
        render = os.path.join(os.path.dirname(here), "render.py")
        sys.exit(subprocess.call([sys.executable, render, build, sys.executable, here, build]))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(look(build, folder))


def look(build, folder):
    config, run = os.path.join(folder, "svmd.conf"), os.path.join(folder, "run")
    with open(config, "w", encoding="ascii"):
        pass
    svmd = subprocess.Popen([f"{build}/svmd", "--config", config, "--runtime-dir", run, "--state-dir", f"{folder}/state",
                             "--log-level", "warning"])
    try:
        return wait_and_compare(build, f"{run}/admin.sock", svmd)
    finally:
        svmd.send_signal(signal.SIGINT)
        svmd.wait(PATIENCE)


def wait_and_compare(build, socket, svmd):
    def ctl(*words):
        done = subprocess.run([f"{build}/svmd-ctl", "--socket", socket, *words], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        return done.stdout

    end = time.monotonic() + PATIENCE
    nodes = {}
    while len(nodes) < len(WANTED) and time.monotonic() < end and svmd.poll() is None:
        time.sleep(0.02)
        if os.path.exists(socket):
            nodes = {n["name"]: n for n in json.loads(ctl("node", "list", "--json") or "[]") if n["kind"] == "drm"}
    have = {name: (n["driver"], n["capacity"], n["functions_most"]) for name, n in nodes.items()}
    if have != WANTED:
        print(f"svmd lists {have}, and the machine has {WANTED}")
        return 1
    shown, doctor = ctl("node", "show", "drm0"), ctl("doctor")
    for text, words in ((shown, "at most 24 virtual ones"), (shown, "12 GiB"), (doctor, "drm1 amdgpu")):
        if words not in text:
            print(f"\"{words}\" is not in:\n{text}")
            return 1
    print("svmd lists the emulated cards, with their memory")
    return 0


main()
