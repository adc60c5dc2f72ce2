#!/usr/bin/env python3
"""Emulated cards are regions of the kernel's controller of device memory, by the names that their drivers register, where
these are as large: a group's dmem.max bounds what its processes make there. The controller is an emulation, the group is
the kernel's.

usage: dmem.py BUILD WINDOW"""
import json
import os
import subprocess
import sys
import tempfile

from served import PATIENCE, Served, on_the_machine

XE, AMDGPU = "drm/0000:01:00.0/vram0", "drm/0000:02:00.0/vram"
SIZES = {XE: 12 << 30, AMDGPU: 64 << 30}


def write(path, values):
    with open(path, "w", encoding="ascii") as f:
        f.writelines(f"{region} {value}\n" for region, value in values.items())


class Group:
    """A group of version 2 of its own, and its folder in the emulation."""

    def __init__(self, folder, root):
        self.mount, self.name = f"{folder}/groups", f"svmd-dmem-{os.getpid()}"
        os.mkdir(self.mount)
        subprocess.run(["mount", "-t", "cgroup2", "none", self.mount], check=True)
        os.mkdir(f"{self.mount}/{self.name}")
        os.mkdir(f"{root}/{self.name}")
        for name, value in (("max", 4 << 20), ("low", 0), ("min", 0), ("current", 0)):
            write(f"{root}/{self.name}/dmem.{name}", {XE: value, AMDGPU: "max" if name == "max" else 0})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.rmdir(f"{self.mount}/{self.name}")
        subprocess.run(["umount", self.mount], check=True)

    def enter(self):
        write(f"{self.mount}/{self.name}/cgroup.procs", {os.getpid(): ""})


def followed(served):
    """On how many nodes limits of groups are followed, as doctor says."""
    served.until(lambda: served.ctl("node", "list").count("drm") >= 3)
    said = [f["text"] for f in json.loads(served.ctl("doctor", "--json")) if f["id"] == "dmem"]
    return int(said[0].split("followed on ")[1].split()[0]) if said else 0


def main():
    build, window = sys.argv[1:]
    on_the_machine(build, os.path.abspath(__file__), build, window)
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/dmem"
        os.mkdir(root)
        write(f"{root}/dmem.capacity", {XE: SIZES[XE] // 2, AMDGPU: SIZES[AMDGPU], "drm/0000:03:00.0/vram": 80 << 30})
        with Served(build, "--dmem-root", root) as served:
            half = followed(served)
        write(f"{root}/dmem.capacity", SIZES)
        with Group(folder, root) as group, Served(build, "--dmem-root", root) as served:
            both = followed(served)
            served.ctl("partition", "create", "one", "--window", window)
            there = {**os.environ, "SVMD_SOCKET": f"{served.run}/svmd.sock"}
            status = subprocess.call([f"{build}/tests/emul/drm/memory_client", "group"], env=there, timeout=PATIENCE,
                                     preexec_fn=group.enter)
    good = (half, both, status) == (1, 2, 0)
    print("limits of a control group hold on the cards that are regions of dmem" if good else
          f"followed on {half} (1) and {both} (2) cards; the program in the group: {status}")
    sys.exit(not good)


main()
