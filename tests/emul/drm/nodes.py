#!/usr/bin/env python3
"""A real svmd, started on an emulated machine (render.py), lists its cards: `node list`, `node show` and `doctor` say what
the drivers' models say.

usage: nodes.py BUILD"""
import json
import os
import sys

from served import Served, on_the_machine

WANTED = {"drm0": ("xe", 12 << 30, 24), "drm1": ("amdgpu", 64 << 30, 0), "drm2": ("nouveau", 80 << 30, 0)}


def main():
    build = sys.argv[1]
    on_the_machine(build, os.path.abspath(__file__), build)
    with Served(build) as served:
        sys.exit(compare(served))


def compare(served):
    def listed():
        nodes = [n for n in json.loads(served.ctl("node", "list", "--json") or "[]") if n["kind"] == "drm"]
        return {n["name"]: (n["driver"], n["capacity"], n["functions_most"]) for n in nodes}

    have = served.until(lambda: listed() if len(listed()) == len(WANTED) else None)
    if have != WANTED:
        print(f"svmd lists {have or listed()}, and the machine has {WANTED}")
        return 1
    shown, doctor = served.ctl("node", "show", "drm0"), served.ctl("doctor")
    for text, words in ((shown, "at most 24 virtual ones"), (shown, "12 GiB"), (doctor, "drm1 amdgpu")):
        if words not in text:
            print(f"\"{words}\" is not in:\n{text}")
            return 1
    print("svmd lists the emulated cards, with their memory")
    return 0


main()
