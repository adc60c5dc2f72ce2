#!/usr/bin/env python3
"""Runs a program on an emulated machine (render.py) where a real svmd is, whose socket is in SVMD_SOCKET.

usage: served.py BUILD PROGRAM [ARGUMENT...]"""
import os
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30


class Served:
    """svmd in folders of its own; ended with the block."""

    def __init__(self, build, *options):
        self.build, self.folder = build, tempfile.TemporaryDirectory()
        self.run = f"{self.folder.name}/run"
        config = f"{self.folder.name}/svmd.conf"
        with open(config, "w", encoding="ascii"):
            pass
        self.words = [f"{build}/svmd", "--config", config, "--runtime-dir", self.run, "--state-dir",
                      f"{self.folder.name}/state", "--log-level", "warning", *options]
        self.svmd = subprocess.Popen(self.words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.svmd.send_signal(signal.SIGINT)
        self.svmd.wait(PATIENCE)
        self.folder.cleanup()

    def anew(self):
        self.svmd.terminate()
        self.svmd.wait(PATIENCE)
        self.svmd = subprocess.Popen(self.words)

    def ctl(self, *words):
        done = subprocess.run([f"{self.build}/svmd-ctl", "--socket", f"{self.run}/admin.sock", *words],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.stdout

    def until(self, what):
        """What it says once that is something, or at last; svmd's sockets are there by then."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.svmd.poll() is None:
            said = what() if os.path.exists(f"{self.run}/admin.sock") else None
            if said:
                return said
            time.sleep(0.02)
        return what()


def on_the_machine(build, *command):
    """Goes there, unless this process is there already."""
    if os.path.exists("/dev/dri/renderD130"):
        return
    render = os.path.join(os.path.dirname(os.path.abspath(__file__)), "render.py")
    sys.exit(subprocess.call([sys.executable, render, build, sys.executable, *command]))


def main():
    build, command = sys.argv[1], sys.argv[2:]
    on_the_machine(build, os.path.abspath(__file__), *sys.argv[1:])
    with Served(build) as served:
        served.until(lambda: served.ctl("node", "list").count("drm") >= 3)
        status = subprocess.call(command, env={**os.environ, "SVMD_SOCKET": f"{served.run}/svmd.sock"})
    sys.exit(status)


if __name__ == "__main__":
    main()
