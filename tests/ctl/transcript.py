#!/usr/bin/env python3
"""Runs a transcript: Markdown whose ```console blocks hold commands ("$ ...") and exactly what they write.

In what is expected, "..." stands for any text within a line, and a line of "..." alone for any lines. A command goes on
in the next line after "> ". All commands of the file run in one bash, in order. The first that writes something else
ends the run with a diff and status 1.
"""

import argparse
import difflib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

LIMIT_S = 60  # a command that takes longer has failed


class Failed(Exception):
    pass


def commands_of(text):
    """(line number, command, expected output) of each command of the console blocks."""
    commands, inside = [], False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            inside = not inside and line.strip() == "```console"
        elif not inside:
            continue
        elif line.startswith("$ "):
            commands.append([number, line[2:], []])
        elif not commands:
            raise Failed(f"line {number}: output without a command before it: {line}")
        elif line.startswith("> ") and not commands[-1][2]:
            commands[-1][1] += "\n" + line[2:]
        else:
            commands[-1][2].append(line)
    if inside:
        raise Failed("the last block has no end")
    return [(number, command, lines) for number, command, lines in commands]


def matches(expected, actual):
    """Whether the lines are those expected, over a table of which prefixes can match which."""
    reach = {0}
    for want in expected:
        if want == "...":
            reach = set(range(min(reach), len(actual) + 1)) if reach else set()
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in want.split("...")))
        reach = {i + 1 for i in reach if i < len(actual) and pattern.fullmatch(actual[i])}
    return len(actual) in reach


class Shell:
    """One bash. Each command is a file that it reads, so that commands cannot eat one another as input."""

    def __init__(self, build, folder):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SVMD_") and k not in ("COLUMNS", "D")}
        # Debian's Python comes first: its cffi and numpy are what the Python package needs.
        env.update(PATH=f"{build}:/usr/bin:/bin:{env.get('PATH', '')}", LC_ALL="C.UTF-8", TZ="UTC", NO_COLOR="1",
                   PYTHONPATH=f"{build}/python", LD_LIBRARY_PATH=f"{build}/libclient/src")
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=folder,
                                        start_new_session=True)

    def run(self, command, limit=LIMIT_S):
        """What the command wrote, without the end of its last line."""
        self.count += 1
        mark = f"--end-of-command-{self.count}-{os.getpid()}--"
        path = os.path.join(self.folder, "command")
        with open(path, "w", encoding="utf-8") as file:
            file.write(command + "\n")
        self.process.stdin.write(f". '{path}' < /dev/null; printf '\\n%s\\n' '{mark}'\n".encode())
        self.process.stdin.flush()
        return self.read_to(mark, time.monotonic() + limit)

    def read_to(self, mark, deadline):
        end, data = f"\n{mark}\n".encode(), b""
        while not data.endswith(end):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            data += chunk
            if not ready:
                raise Failed(f"it did not end within its time; so far it wrote:\n{data.decode(errors='replace')}")
            if not chunk:
                raise Failed(f"bash ended; before that came:\n{data.decode(errors='replace')}")
        text = data[: -len(end)].decode(errors="replace")
        return text[:-1] if text.endswith("\n") else text

    def end(self):
        """Interrupted, svmd ends for good and its keeper with it; what is left after a moment is killed."""
        self.signal(signal.SIGINT)
        self.process.stdin.close()
        deadline = time.monotonic() + 2
        while self.signal(0) and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.02)
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def signal(self, number):
        """False when no process of the transcript is left."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True


def check(shell, number, command, expected, limit):
    try:
        text = shell.run(command, limit)
    except Failed as failed:
        raise Failed(f"line {number}: $ {command}\n{failed}") from None
    actual = text.split("\n") if text else []
    if not matches(expected, actual):
        diff = difflib.unified_diff(expected, actual, "expected", "written", lineterm="")
        raise Failed(f"line {number}: $ {command}\n" + "\n".join(diff))


def run_text(text, build, limit=LIMIT_S, verbose=False):
    commands = commands_of(text)
    if not commands:
        raise Failed("there is no command in it")
    with tempfile.TemporaryDirectory(prefix="svmd-transcript-") as folder:
        shell = Shell(build, folder)
        try:
            for number, command, expected in commands:
                if verbose:
                    print(f"$ {command}", flush=True)
                check(shell, number, command, expected, limit)
        finally:
            shell.end()
    return len(commands)


def self_test():
    def block(text):
        return f"words\n```console\n{text}\n```\nmore\n```sh\n$ false\n```\n"

    good = [
        "$ echo a\na",
        "$ true\n$ echo b; echo c >&2\nb\nc",
        "$ printf 'no end'\nno end",
        "$ x=5\n$ echo $x\n5",
        "$ echo 12 apples and 7\n12 ... and ...",
        "$ seq 100\n1\n...\n50\n...\n100",
        "$ seq 3\n...",
        "$ seq 3\n1\n2\n3\n...",
        "$ echo a; echo; echo b\na\n\nb",
        "$ echo one \\\n>   two\none two",
        "$ cat\n$ echo after\nafter",
        "$ sleep 100 &\n$ echo quick\nquick",
        "$ echo '* [x] (y) a.b'\n* [x] (y) a.b",
        "$ sh -c 'exit 3'; echo $?\n3",
        "$ echo '$ x'\n...x",
    ]
    bad = [
        "$ echo a\nb",
        "$ echo a",
        "$ true\na",
        "$ echo a.b\na...c",
        "$ echo axb\na.b",
        "$ seq 3\n1\n3",
        "$ seq 3\n1\n...\n2",
        "$ echo a\na\n\n",
        "$ echo a; echo b\na",
        "$ echo ' a'\na",
        "$ sleep 100",
        "$ exit 0\n$ true",
        "output",
    ]
    for text in good:
        run_text(block(text), "/nowhere", 10)
    for text in bad:
        try:
            run_text(block(text), "/nowhere", 1)
        except Failed:
            continue
        raise SystemExit(f"this should have failed:\n{text}")
    for text in ("", "no block\n", "```console\n```\n", "```console\n$ true\n"):
        try:
            run_text(text, "/nowhere", 1)
        except Failed:
            continue
        raise SystemExit(f"this should have failed:\n{text}")
    print(f"{len(good)} transcripts passed and {len(bad) + 4} failed, as they should")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build", help="where the programs are")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("file", nargs="?")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return 0
    if not args.file:
        parser.error("which transcript?")
    with open(args.file, encoding="utf-8") as file:
        text = file.read()
    try:
        count = run_text(text, os.path.abspath(args.build), verbose=True)
    except Failed as failed:
        print(f"{args.file}: {failed}", file=sys.stderr)
        return 1
    print(f"{args.file}: {count} commands wrote what they should")
    return 0


if __name__ == "__main__":
    sys.exit(main())
