#!/usr/bin/env python3
"""Runs tests on other kernels than this machine's, in virtual machines.

    run.py --build DIR [--kernel 6.1|6.12|debian]... [TEST...]

Without names: every test of guest/, each in a machine of its own that is booted for it, on the lean 6.1 and on Debian's
stock kernel. Exit status 0: everything asked for ran and passed, and no kernel's log had a warning in it. Otherwise what
the test and the kernel wrote is in DIR/vm/KERNEL/TEST.

To add a test, write guest/NAME.sh, executable, with `# vm KEY: VALUE` lines at its top (guest.py has the list). It runs
as root in a Debian like this one, in the folder of the sources, and passes by exit status 0. It has:

    $SVMD_BUILD      the build, with all programs
    $SVMD_SOURCE     the sources
    $SVMD_KERNEL     6.1, 6.12 or debian
    $SVMD_SLOW       by how much ceilings are longer there
"""
import argparse
import os
import signal
import sys
import time

import guest
import kernels
import machine


def arguments():
    p = argparse.ArgumentParser(prog="./dev vm", description="Runs tests on other kernels, in virtual machines.")
    p.add_argument("--build", default="build", help=argparse.SUPPRESS)
    p.add_argument("--kernel", action="append", choices=kernels.NAMES, help="6.1 and debian unless given; may be repeated")
    p.add_argument("--list", action="store_true", help="only say which tests there are")
    p.add_argument("tests", nargs="*", metavar="TEST", help="all unless given")
    return p.parse_args()


def line(result, name, rest=""):
    print(("   %-5s %-20s %s" % (result, name, rest)).rstrip(), flush=True)


def run_one(kernel, test, build):
    out = os.path.join(os.path.abspath(build), "vm", kernel.name, test.name)
    start = time.monotonic()
    why = machine.run(kernel, test, build, out)
    line("FAIL" if why else "PASS", test.name, "%4d s" % (time.monotonic() - start) + ("  " + why if why else ""))
    if why:
        print("".join("         | %s\n" % l for l in machine.read(os.path.join(out, "output")).splitlines()[-40:]), end="")
        print("         all of it, and the kernel's log: " + out)
    return not why


def run_kernel(name, chosen, build, ran):
    """How many failed."""
    applying = [t for t in chosen if t.applies(name)]
    failed = 0
    if applying:
        kernel = kernels.get(name)
        print("== %s" % kernel.text, flush=True)
    for test in chosen:
        if test in applying:
            ran.add(test)
            failed += not run_one(kernel, test, build)
        else:
            line("-", test.name, "does not apply here: it is for %s" % ", ".join(test.kernels))
    return failed


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # QEMU is ended, what is half made removed
    try:
        known = guest.tests()
        unknown = [t for t in args.tests if t not in known]
        if unknown:
            print("there is no test %s; there are %s" % (unknown[0], ", ".join(known)), file=sys.stderr)
            return 2
        chosen = [known[t] for t in args.tests] or list(known.values())
        if args.list:
            for t in chosen:
                print("%-20s %s" % (t.name, " ".join(t.kernels)))
            return 0
        ran, failed = set(), 0
        for name in args.kernel or ["6.1", "debian"]:
            failed += run_kernel(name, chosen, args.build, ran)
    except (guest.BadHeader, kernels.Failed) as e:
        print(e, file=sys.stderr)
        return 1
    idle = [t.name for t in chosen if t not in ran and args.tests]
    if idle:
        print("did not run on any of these kernels: " + ", ".join(idle))
    print("%d failed" % (failed + len(idle)) if failed or idle else "all passed")
    return 1 if failed or idle or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
