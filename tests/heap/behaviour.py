#!/usr/bin/env python3
"""What programs may expect of malloc(), mmap() and fork(): heap-behaviour as it is, and under svmd-run; with a limit and
orders too. Then what svmd-run says of itself.

    behaviour.py BUILD [CASE...]
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import Pressure, Svmd  # noqa: E402

PATIENCE = 60
PLAIN = ["mmap", "parts", "mremap", "mprotect", "malloc", "calloc",
         "generations", "private", "threads", "forks", "descriptors", "progress"]
MANAGED = {"large": [], "session": [], "fence": [], "max": ["--max", "64M"],
           "max-alone": ["--max", "64M"]}
failed = 0


def check(what, good, said=""):
    global failed
    if not good:
        failed += 1
        print(f"FAILED: {what}\n{said}", flush=True)


def run(words, **environment):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
                          env={**os.environ, **environment}, check=False)


def cases(build, svmd, wanted):
    program = os.path.join(build, "heap-behaviour")
    for name in PLAIN:
        if not wanted or name in wanted:
            done = run([program, name])
            check(f"{name}, plain", done.returncode == 0, done.stderr)
    for name, options in [*((name, []) for name in PLAIN), *MANAGED.items()]:
        if wanted and name not in wanted:
            continue
        words = [os.path.join(build, "svmd-run"), *options, "--", program, name]
        done = run(words, SVMD_SOCKET=svmd.socket())
        check(f"{name}, managed", done.returncode == 0 and not done.stderr, done.stderr)
        if name == "large":  # more than the limit and the nodes have: nothing new is shown by waiting
            continue
        svmd.ctl("partition", "create", name, "--limit", "host0=4M")
        pressure = Pressure(svmd, name, 1, kills=0)
        done = run([words[0], "--partition", name, *words[1:]], SVMD_SOCKET=svmd.socket())
        pressure.end()
        check(f"{name}, under pressure", done.returncode == 0 and not done.stderr, done.stderr)


def refusals(build, svmd, folder):
    """Said beforehand, in a sentence, with status 125."""
    svmd_run = os.path.join(build, "svmd-run")
    static = os.path.join(folder, "static")
    subprocess.run(["gcc", "-static", "-o", static, "-x", "c", "-"], input="int main(void) { return 0; }\n", text=True,
                   check=True)
    other = os.path.join(folder, "other")
    with open(static, "rb") as file:
        image = bytearray(file.read())
    image[18:20] = b"\xf3\x00"  # RISC-V
    with open(other, "wb") as file:
        file.write(image)
    os.chmod(other, 0o755)
    setuid = os.path.join(folder, "setuid")
    with open(os.path.join(build, "heap-behaviour"), "rb") as source, open(setuid, "wb") as file:
        file.write(source.read())
    if os.geteuid() == 0:
        os.chown(setuid, 1, 1)
    os.chmod(setuid, 0o4755)
    script = os.path.join(folder, "script")
    with open(script, "w", encoding="ascii") as file:
        file.write(f"#!{static}\n")
    os.chmod(script, 0o755)
    rights = [(setuid, "gains rights")] if os.geteuid() == 0 else []
    for path, word in ((static, "statically"), (other, "architecture"), (script, "statically"), *rights):
        done = run([svmd_run, path], SVMD_SOCKET=svmd.socket())
        check(f"{path} is refused", done.returncode == 125 and word in done.stderr, done.stderr)
    for words, word in ((["--preferred", "gpu9", "true"], "no node"), (["--partition", "none", "true"], "none"),
                        (["--max", "much", "true"], "not a size"), (["--max", "-1", "true"], "not a size"), ([], "usage")):
        done = run([svmd_run, *words], SVMD_SOCKET=svmd.socket())
        check(f"{words} is refused", done.returncode == 125 and word in done.stderr, done.stderr)
    done = run([svmd_run, "true"], SVMD_SOCKET=os.path.join(folder, "nothing"))
    check("no svmd", done.returncode == 125 and "socket" in done.stderr, done.stderr)
    done = run([svmd_run, "no-such-program"], SVMD_SOCKET=svmd.socket())
    check("no program", done.returncode == 127, done.stderr)
    done = run([svmd_run, "sh", "-c", "exit 9"], SVMD_SOCKET=svmd.socket())
    check("the program's status", done.returncode == 9 and not done.stderr, done.stderr)


def says(build, svmd):
    done = run([os.path.join(build, "svmd-run"), "--stat", "--json", "--preferred", "gpu1", "/bin/echo", "hello"],
               SVMD_SOCKET=svmd.socket())
    row = json.loads(done.stderr)
    check("--stat --json", done.stdout == "hello\n" and row["program"] == "echo" and row["managed"] > 0, done.stderr)


def main():
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="svmd-heap-") as folder:
        svmd = Svmd(build, folder)
        try:
            cases(build, svmd, sys.argv[2:])
            refusals(build, svmd, folder)
            says(build, svmd)
        finally:
            ended = svmd.stop()
        check("svmd ends", ended == 0)
    print("failed:", failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
