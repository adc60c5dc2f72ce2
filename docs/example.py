#!/usr/bin/env python3
"""The program in EXAMPLES of docs/man/libsvmd.3.

    example.py extract PAGE FILE      writes the program as C
    example.py run PAGE BUILD PROGRAM   runs it against the svmd in BUILD: it prints what the page says
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30


def parts(page):
    """The program, and what it prints."""
    with open(page, encoding="utf-8") as file:
        examples = file.read().split(".Sh EXAMPLES\n", 1)[1]
    program = re.search(r"^\.Bd -literal\n(.*?)^\.Ed$", examples, re.M | re.S)[1]
    printed = re.search(r"^\.Dl (.*)$", examples, re.M)[1]
    return program.replace(r"\&", "").replace(r"\e", "\\"), printed + "\n"


def wait_ready(process, log):
    end = time.monotonic() + PATIENCE
    while True:
        with open(log, encoding="utf-8") as file:
            text = file.read()
        if "; listening in " in text:
            return
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"svmd does not come up:\n{text}")
        time.sleep(0.02)


def run(page, build, program):
    folder = tempfile.mkdtemp(prefix="svmd-example-")
    log = os.path.join(folder, "log")
    with open(log, "wb") as file:
        svmd = subprocess.Popen([os.path.join(build, "svmd"), "--config", "/dev/null", "--runtime-dir", folder,
                                 "--state-dir", os.path.join(folder, "state"), "--soft-node", "gpu0:size=64M"],
                                stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        wait_ready(svmd, log)
        environment = {name: value for name, value in os.environ.items() if name != "SVMD_PARTITION"}
        done = subprocess.run([program], env={**environment, "SVMD_SOCKET": os.path.join(folder, "svmd.sock")},
                              stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    finally:
        svmd.send_signal(signal.SIGINT)
        svmd.wait(PATIENCE)
        shutil.rmtree(folder)
    wanted = parts(page)[1]
    if done.returncode != 0 or done.stdout != wanted:
        print(f"the example ended with {done.returncode} and printed {done.stdout!r}; the page says {wanted!r}")
        return 1
    return 0


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "extract":
        with open(sys.argv[3], "w", encoding="utf-8") as file:
            file.write(parts(sys.argv[2])[0])
        return 0
    if len(sys.argv) == 5 and sys.argv[1] == "run":
        return run(*sys.argv[2:])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
