#!/usr/bin/env python3
"""DRM devices that go and come while svmd runs: one that is gone is a lost node, with a reason, and its sessions are refused
there and nowhere else; it is online again when it is back. One that has less memory for programs than before (nouveau) is
the same; one of another size is not. A virtual function that appears is told of, a node after a restart, and lost when
it goes. Which files /dev/dri has is this test's to say; behind them are the emulator's.

usage: rescan.py BUILD"""
import json
import os
import subprocess
import sys
import tempfile

from served import PATIENCE, Served, on_the_machine

REASON = "its driver has it no longer, or does not let svmd open it"
PHYSICAL = "sys/devices/pci0000:00/0000:01:00.0"


def run(*words):
    subprocess.run(words, check=True)


class Dri:
    """/dev/dri, with files of the emulator's under names of their own or of others."""

    def __init__(self, folder):
        self.all, self.here = f"{folder}/all", "/dev/dri"
        os.mkdir(self.all)
        run("mount", "--bind", "/dev/dri", self.all)
        run("mount", "-t", "tmpfs", "none", self.here)

    def show(self, minor, of=None):
        for name in ("renderD%d", "card%d"):
            number = minor if name[0] == "r" else minor - 128
            source = (of or minor) if name[0] == "r" else (of or minor) - 128
            with open(f"{self.here}/{name % number}", "w", encoding="ascii"):
                pass
            run("mount", "--bind", f"{self.all}/{name % source}", f"{self.here}/{name % number}")

    def hide(self, minor):
        for name in (f"renderD{minor}", f"card{minor - 128}"):
            run("umount", "--lazy", f"{self.here}/{name}")
            os.remove(f"{self.here}/{name}")


class Program:
    """rescan_client, step by step."""

    def __init__(self, build, socket):
        self.process = subprocess.Popen([f"{build}/tests/emul/drm/rescan_client"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, "SVMD_SOCKET": socket})

    def step(self, name):
        if self.process.poll() is None:
            self.process.stdin.write(f"{name}\n")
            self.process.stdin.flush()
        return self.process.stdout.readline() == "done\n"

    def end(self):
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode == 0


def nodes(served):
    rows = json.loads(served.ctl("node", "list", "--json") or "[]")
    return {n["name"]: n for n in rows if n["kind"] == "drm"}


def found(served):
    return {name: (n["online"], n["trouble"]) for name, n in nodes(served).items() if n["id"] < 256}


def new(served):
    return [f["text"] for f in json.loads(served.ctl("doctor", "--json") or "[]") if f["id"] == "devices-new"]


def becomes(served, what, want):
    served.until(lambda: what(served) == want)
    have = what(served)
    if have != want:
        print(f"svmd says {have}, and it should be {want}")
    return have == want


def goes_and_comes(build, served, dri):
    all_there = {f"drm{i}": (True, None) for i in range(3)}
    gone = {**all_there, "drm0": (False, REASON)}
    good = becomes(served, found, all_there)
    program = Program(build, f"{served.run}/svmd.sock")
    with open(f"{served.run}/told", "w+", encoding="utf-8") as told:
        monitor = subprocess.Popen([f"{build}/svmd-ctl", "--socket", f"{served.run}/admin.sock", "monitor"], stdout=told)
        good &= program.step("begin")
        dri.hide(128)
        good &= becomes(served, found, gone) and program.step("lost")
        dri.show(128)
        good &= becomes(served, found, all_there) and program.step("back")
        dri.hide(128)
        dri.show(128, 133)  # another xe, of another size
        good &= becomes(served, found, gone)
        dri.hide(128)
        dri.show(128)
        good &= becomes(served, found, all_there)
        dri.hide(130)
        dri.show(130, 132)  # nouveau, with less for programs
        dri.hide(129)
        good &= becomes(served, found, {**all_there, "drm1": (False, REASON)})
        dri.show(129)
        good &= becomes(served, found, all_there) and program.end()
        monitor.terminate()
        monitor.wait(PATIENCE)
        told.seek(0)
        lines = told.read()
    for words in ("drm0 has vanished, with what was there: its driver has it no longer", "drm0 is there again"):
        if words not in lines:
            print(f"\"{words}\" is not in what a monitor was told:\n{lines}")
            good = False
    return good


def function_appears(served, dri):
    with open(f"{os.environ['EMUL_MACHINE']}/{PHYSICAL}/sriov_numvfs", "w", encoding="ascii") as f:
        f.write("1\n")
    dri.show(131)
    good = bool(served.until(lambda: new(served)))
    row = nodes(served).get("drm3", {})
    good &= row.get("physical") == "pci 0000:01:00.0" and row["id"] >= 256 and "drm3" not in found(served)
    good &= nodes(served)["drm0"]["functions"] == 1
    served.anew()
    good &= becomes(served, found, {f"drm{i}": (True, None) for i in range(4)}) and not new(served)
    dri.hide(131)
    good &= becomes(served, lambda s: found(s).get("drm3"), (False, REASON))
    if not good:
        print(f"a virtual function: {row}, {new(served)}, {found(served)}")
    return good


def main():
    build = sys.argv[1]
    os.environ["EMUL_MORE"] = "1"
    on_the_machine(build, os.path.abspath(__file__), build)
    with tempfile.TemporaryDirectory() as folder:
        dri = Dri(folder)
        for minor in (128, 129, 130):
            dri.show(minor)
        with Served(build, "--device-period", "1") as served:
            good = goes_and_comes(build, served, dri) and function_appears(served, dri)
        for path in (dri.here, dri.all):
            run("umount", "--recursive", "--lazy", path)
    print("DRM devices that go and come: lost, online again, told of, and nodes after a restart" if good else "failed")
    sys.exit(not good)


main()
