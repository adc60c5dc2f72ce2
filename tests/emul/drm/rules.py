#!/usr/bin/env python3
"""Breaks each rule of the models of DRM drivers in turn, and wants a test to fail; and wants the rules in the code to be
those of docs/devices.md.

usage: rules.py SOURCE PROGRAM..."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def fails(program, rule):
    environment = {**os.environ, "SVMD_SEED": "1", **({"DRM_BROKEN": rule} if rule else {})}
    try:
        return subprocess.run([program], env=environment, capture_output=True, timeout=30, check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main():
    source, programs = sys.argv[1], sys.argv[2:]
    code = "".join(open(os.path.join(HERE, name), encoding="ascii").read()
                   for name in os.listdir(HERE) if re.fullmatch(r"drm_\w+\.c", name))
    used = set(re.findall(r'drm_rule\("(\w+)"\)', code))
    with open(os.path.join(source, "docs", "devices.md"), encoding="utf-8") as f:
        told = set(re.findall(r"^\| ([DXAN]\d+) \|", f.read(), re.M))
    wrong = [f"{rule} is in docs/devices.md alone" for rule in told - used]
    wrong += [f"{rule} is in the code alone" for rule in used - told]
    wrong += [f"{program} fails with all rules" for program in programs if fails(program, None)]
    wrong += [f"no test sees that {rule} is broken" for rule in sorted(used)
              if not any(fails(program, rule) for program in programs)]
    print("\n".join(wrong) if wrong else f"{len(used)} rules, each of which is missed when it is broken")
    sys.exit(bool(wrong))


main()
