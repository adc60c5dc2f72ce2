#!/usr/bin/env python3
"""top.py BUILD: `svmd-ctl top` on a real terminal (tmux), with a real svmd that goes away and comes back."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LIMIT_S = 30


class Failed(Exception):
    pass


class Svmd:
    def __init__(self, build, folder):
        self.build, self.folder, self.process = build, folder, None

    def start(self):
        open(f"{self.folder}/conf", "w", encoding="utf-8").close()
        with open(f"{self.folder}/log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [f"{self.build}/svmd", "--config", f"{self.folder}/conf", "--runtime-dir", self.folder, "--state-dir",
                 f"{self.folder}/state", "--host-capacity", "64M", "--soft-node", "gpu0:size=16M", "--soft-node",
                 "gpu1:size=32M"], stderr=log)
        self.ctl("wait", "ready", "--timeout", "30")

    def ctl(self, *words):
        subprocess.run([f"{self.build}/svmd-ctl", "--runtime-dir", self.folder, *words], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)

    def send(self, number):
        self.process.send_signal(number)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(LIMIT_S)


class Terminal:
    """A screen of tmux, whose shell says how what it ran has ended and how its terminal stands."""

    def __init__(self, folder, term="tmux-256color"):
        self.tmux = ["tmux", "-S", f"{folder}/tmux-{term}", "-f", "/dev/null"]
        self.term = term
        env = {**os.environ, "LC_ALL": "C.UTF-8", "PS1": "ready> ", "ENV": "", "TERM": "xterm"}
        env.pop("NO_COLOR", None)
        subprocess.run(self.tmux + ["new-session", "-d", "-x", "100", "-y", "30", "sh"], env=env, check=True, timeout=LIMIT_S)

    def run(self, command):
        self.keys(f"clear; stty -g > {os.path.dirname(self.tmux[2])}/before; TERM={self.term} {command}; "
                  f"echo status $?; stty -g | cmp - {os.path.dirname(self.tmux[2])}/before && echo as before", "Enter")

    def keys(self, *keys):
        subprocess.run(self.tmux + ["send-keys", *keys], check=True, timeout=LIMIT_S)

    def resize(self, columns, lines):
        subprocess.run(self.tmux + ["resize-window", "-x", str(columns), "-y", str(lines)], check=True, timeout=LIMIT_S)

    def screen(self, *options):
        return subprocess.run(self.tmux + ["capture-pane", "-p", *options], capture_output=True, text=True, check=True,
                              timeout=LIMIT_S).stdout

    def pid(self):
        """Of svmd-ctl: the eldest child of the shell."""
        shell = subprocess.run(self.tmux + ["display-message", "-p", "#{pane_pid}"], capture_output=True, text=True,
                               check=True, timeout=LIMIT_S).stdout.strip()
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def wait(self, pattern, *options):
        end = time.monotonic() + LIMIT_S
        while not re.search(pattern, self.screen(*options), re.MULTILINE | re.DOTALL):
            if time.monotonic() > end:
                raise Failed(f"there is no {pattern!r} on the screen:\n{self.screen()}")
            time.sleep(0.05)

    def over(self):
        self.wait(r"^status 0 *\n+as before")

    def end(self):
        subprocess.run(self.tmux + ["kill-server"], check=False, timeout=LIMIT_S)


def check_keys(t, top):
    t.run(top)
    t.wait(r"NODE▼ \(3\).*PARTITION \(2\).*beta.*alpha|NODE▼ \(3\).*PARTITION \(2\).*alpha.*beta")
    t.wait(r"\x1b\[", "-e")
    t.keys("<")
    t.wait(r"PARTITION \(2\) .*RANGES▼")
    t.keys("<", "<")
    t.wait(r"PARTITION▼ \(2\).*alpha.*beta")
    t.keys("r")
    t.wait(r"PARTITION▲ \(2\).*beta.*alpha")
    t.keys("/")
    t.keys("-l", "alp")
    t.wait(r"filter: alp_.*PARTITION▲ \(1/2\)")
    t.keys("BSpace", "BSpace", "BSpace", "e", "t")
    t.keys("Enter")
    t.wait(r"filter: et *\n.*PARTITION▲ \(1/2\).*beta")
    t.keys("Escape")
    t.wait(r"PARTITION▲ \(2\)")
    t.keys("z")
    t.wait(r"\A[^\n]*\n\n *PARTITION▲")
    t.keys("z", "?")
    t.wait("any key goes back")
    t.keys("x")
    t.wait(r"NODE▼ \(3\)")


def check_sizes(t):
    for columns, lines in ((50, 10), (20, 4), (150, 45)):
        t.resize(columns, lines)
        t.wait(r"\Asvmd ")
    t.wait("STATE.*MANAGED")


def check_away(t, svmd):
    svmd.send(signal.SIGSTOP)
    t.wait("svmd does not answer; this is [0-9]+ s old")
    svmd.send(signal.SIGCONT)
    t.wait(r"\Asvmd [^\n]*\n *\n")
    svmd.end()
    t.wait("away for [0-9]+ s: ")
    t.wait("alpha")
    svmd.start()
    t.wait(r"\Asvmd [^\n]*\n *\n.*alpha")


def main():
    folder, build = tempfile.mkdtemp(), os.path.abspath(sys.argv[1])
    svmd, terminals = Svmd(build, folder), []
    try:
        svmd.start()
        svmd.ctl("partition", "create", "alpha")
        svmd.ctl("partition", "create", "beta")
        top = f"{build}/svmd-ctl top --interval 0.1 --runtime-dir {folder}"
        terminals.append(Terminal(folder))
        t = terminals[0]
        check_keys(t, top)
        check_sizes(t)
        check_away(t, svmd)
        t.keys("q")
        t.over()
        t.run(top)
        t.wait("NODE▼")
        t.keys("C-c")
        t.over()
        t.run(top)
        t.wait("NODE▼")
        os.kill(t.pid(), signal.SIGTERM)
        t.over()
        # A terminal without colours shows the same without; one that cannot be drawn on has pictures as a pipe does.
        t.run(f"env NO_COLOR=1 {top}")
        t.wait("NODE▼")
        if re.search(r"\x1b\[[0-9;]*3[0-7][;m]", t.screen("-e")):
            raise Failed("there are colours with NO_COLOR")
        t.keys("q")
        t.over()
        terminals.append(Terminal(folder, "vt100"))
        terminals[1].run(top)
        terminals[1].wait(r"NODE. \(3\)")
        terminals[1].keys("q")
        terminals[1].over()
        terminals.append(Terminal(folder, "dumb"))
        terminals[2].run(f"{top} --count 1")
        terminals[2].over()
        terminals[2].wait("CLIENT")
    except Failed as failed:
        with open(f"{folder}/log", encoding="utf-8") as log:
            sys.exit(f"{failed}\n{log.read()}")
    finally:
        for terminal in terminals:
            terminal.end()
        svmd.end()
        shutil.rmtree(folder, ignore_errors=True)
    print("top does as its keys say")


if __name__ == "__main__":
    main()
