#!/usr/bin/env python3
"""Limits hold for memory that programs make on emulated cards through libsvmd (memory_client.c), also when they are killed.

usage: memory.py BUILD WINDOW        primary, or low, which is all that ThreadSanitizer leaves"""
import os
import subprocess
import sys

from served import PATIENCE, Served, on_the_machine


def main():
    build, window = sys.argv[1:]
    on_the_machine(build, os.path.abspath(__file__), build, window)
    client = f"{build}/tests/emul/drm/memory_client"
    with Served(build) as served:
        served.until(lambda: served.ctl("node", "list").count("drm") >= 3)
        served.ctl("partition", "create", "one", "--window", window, "--limit", "drm0=8M", "--limit", "drm1=8M",
                   "--limit", "drm2=8M")
        there = {**os.environ, "SVMD_SOCKET": f"{served.run}/svmd.sock"}
        status = [subprocess.call([client, "all"], env=there, timeout=PATIENCE)]
        with subprocess.Popen([client, "hold"], env=there, stdout=subprocess.PIPE, text=True) as holder:
            status.append(holder.stdout.readline() != "held\n")
            with subprocess.Popen([client, "wait"], env=there) as waiter:
                try:
                    status.append(waiter.wait(0.3) == 0)  # it has nothing yet
                except subprocess.TimeoutExpired:
                    status.append(0)
                holder.kill()
                status.append(waiter.wait(PATIENCE))
    print("what programs make on cards is charged, refused beyond a limit, and given back, by those that are killed too"
          if not any(status) else f"failed: {status}")
    sys.exit(any(status))


main()
