"""A svmd, a root file system for containers, and the runtimes that there are."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "demo"))
from machine import Program  # noqa: E402

PATIENCE = 60
MIB = 1 << 20
PODMAN = ["podman", "--runtime", "runc", "--cgroup-manager=cgroupfs"]
NODES = {"gpu0": 32 * MIB, "gpu1": 12 * MIB, "host0": 96 * MIB}  # what each partition may have


class Failure(Exception):
    """A sentence for the person who runs this."""


def expect(what, condition):
    if not condition:
        raise Failure(what)


def wait_for(what, ready):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.05)
    raise Failure(f"{what}: not within {PATIENCE} s")


def run(*words, status=0, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=2 * PATIENCE,
                          check=False, **options)
    if done.returncode != status:
        raise Failure(f"{' '.join(map(str, words))}: ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Builder(Program):
    """The demo's builder of an index: it answers each command with lines, and "done" at last."""

    def ask(self, command):
        self.send(command)
        return self.answer(command)

    def answer(self, command="its start"):
        lines = []
        while True:
            line = self.lines.get(timeout=2 * PATIENCE)
            if line is None:
                raise Failure(f"{self.name} ended at '{command}': {lines[-3:]} {''.join(self.complaints)}")
            if line == "done":
                return lines
            lines.append(line)

    def fact(self, command):
        """What is the one line of its answer, without its first word."""
        return self.ask(command)[0].split(" ", 1)[1]

    def words(self):
        """How many lines have each word."""
        found = (line.split(" ", 2) for line in self.ask("words"))
        return {word: int(count) for kind, count, word in found if kind == "word"}


def make_text(folder, words):
    """Files of lines; how many lines have each word."""
    os.makedirs(folder)
    counts = {}
    for number in range(4):
        with open(f"{folder}/{number}.txt", "w", encoding="ascii") as file:
            for line in range(200):
                chosen = {words[(number * 7 + line * k) % len(words)] for k in range(1, 6)}
                file.write(" ".join(sorted(chosen)) + "\n")
                for word in chosen:
                    counts[word] = counts.get(word, 0) + 1
    return counts


class Host:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.folder = tempfile.mkdtemp(prefix="svmd-c-")
        os.chmod(self.folder, 0o755)
        self.run_dir, self.root = self.path("run"), self.path("rootfs")
        self.programs, self.ids, self.made = [], [], []
        self.counts = {}
        self.make_root()
        with open(self.path("conf"), "w", encoding="ascii") as file:
            file.write("[svmd]\nhost-capacity = 1G\ndefault-partition-size = 4G\n"
                       "max-sessions-per-uid = 64\nmax-queued-per-uid = 2M\n"
                       "[node gpu0]\nsize = 256M\n[node gpu1]\nsize = 256M\n")
        self.svmd = None
        self.start()

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_root(self):
        for name in ("bin", "proc", "dev", "sys", "tmp", "etc", "run"):
            os.makedirs(f"{self.root}/{name}")
            os.chmod(f"{self.root}/{name}", 0o777)  # for root of a user namespace, too
        shutil.copy("/bin/busybox", f"{self.root}/bin/busybox")
        for name in ("sh", "sleep", "true"):
            os.symlink("busybox", f"{self.root}/bin/{name}")
        os.chmod(self.root, 0o777)
        for program in ("svmd-demo-builder", "svmd-hello", "svmd-contained", "svmd-lent"):
            path = f"{self.build}/{program}"
            shutil.copy(path, f"{self.root}/bin/{program}")
            for library in re.findall(r"(/\S+) \(0x", run("ldd", path)):
                os.makedirs(self.root + os.path.dirname(library), exist_ok=True)
                shutil.copy(library, self.root + library)
        for name, words in (("blue", ["azure", "navy", "teal", "cyan", "sky", "ice", "both"]),
                            ("green", ["moss", "fern", "mint", "lime", "leaf", "both"]),
                            ("plain", ["grey", "chalk", "both", "slate", "ash"])):
            self.counts[name] = make_text(f"{self.root}/text/{name}", words)

    def start(self):
        with open(self.path("log"), "a", encoding="utf-8") as log:
            self.svmd = subprocess.Popen([f"{self.build}/svmd", "--config", self.path("conf"), "--runtime-dir",
                                          self.run_dir, "--state-dir", self.path("state")], stderr=log)
        self.ctl("wait", "ready", "--timeout", PATIENCE)

    def kill_svmd(self):
        self.svmd.kill()
        self.svmd.wait(PATIENCE)

    def ctl(self, *words):
        return run(f"{self.build}/svmd-ctl", "--runtime-dir", self.run_dir, *words)

    def json(self, *words):
        return json.loads(self.ctl(*words, "--json"))

    def partition(self, name, *options):
        limits = [f"--limit={node}={size}" for node, size in NODES.items()]
        self.made.append(name)
        self.ctl("partition", "create", name, *limits, *options)

    def used(self, name):
        return {node["node"]: node["used"] for node in self.json("partition", "show", name)["nodes"]}

    def builder(self, name, *command):
        """What is behind `command` is the builder, with the text of that name."""
        program = Builder([str(word) for word in command], name)
        self.programs.append(program)
        return program

    def arguments(self, partition, text, inside=True):
        where = "" if inside else self.root
        return [f"{where}/bin/svmd-demo-builder" if inside else f"{self.build}/svmd-demo-builder", "--partition", partition, "--name",
                "index", "--dir", f"{where}/text/{text}", "--reserve", 64 * MIB, "--too-much", 200 * MIB]

    def end(self):
        for program in self.programs:
            program.process.kill()
            program.process.wait(PATIENCE)
        for runtime, name in self.ids:
            subprocess.run([*runtime, "delete", "--force", name], capture_output=True, timeout=PATIENCE, check=False)
        mine = ["--filter", f"label=of={os.getpid()}"]
        for _ in range(5):  # one whose monitor was killed goes with the second try
            left = subprocess.run([*PODMAN, "ps", "--all", "--quiet", *mine], capture_output=True, text=True,
                                  timeout=PATIENCE, check=False).stdout.split()
            if not left:
                break
            subprocess.run([*PODMAN, "rm", "--force", "--time", "0", *left], capture_output=True, timeout=PATIENCE,
                           check=False)
        for name in self.made:
            subprocess.run([f"{self.build}/svmd-ctl", "--runtime-dir", self.run_dir, "partition", "delete", name,
                            "--end-sessions", "--yes"], capture_output=True, timeout=PATIENCE, check=False)
        self.svmd.send_signal(signal.SIGINT)
        self.svmd.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)
