"""The processes of the demo: svmd with its keeper, and programs that are spoken to in lines."""
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 30  # seconds for anything that should happen at once
PATIENCE_WORK = 300  # seconds of silence from a program that works


class DemoError(Exception):
    """A sentence for the person who runs the demo."""


def parse_line(line):
    """"kind a=1 b=2 text=the rest" -> (kind, {a: 1, b: 2, text: "the rest"}); numbers become numbers."""
    head, _, text = line.partition(" text=")
    kind, *pairs = head.split(" ")
    fields = {"text": text}
    for pair in pairs:
        key, _, value = pair.partition("=")
        fields[key] = value
        if key != "word" and key != "name":
            try:
                fields[key] = int(value, 0)
            except ValueError:
                pass
    return kind, fields


class Program:
    """A program of the demo; its lines come through a queue, so that none can block the demo for ever."""

    def __init__(self, arguments, name):
        self.name = name
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, encoding="ascii", errors="replace")
        self.lines = queue.Queue()
        self.complaints = []
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_errors(self):
        self.complaints.extend(self.process.stderr)

    def send(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise DemoError(f"{self.name} has ended too early: {self._why()}") from None

    def raw(self):
        """The next line, None at the end, however often it is asked."""
        try:
            line = self.lines.get(timeout=PATIENCE_WORK)
        except queue.Empty:
            raise DemoError(f"{self.name} has said nothing for {PATIENCE_WORK} s") from None
        if line is None:
            self.lines.put(None)
        return line

    def next(self):
        line = self.raw()
        return (None, {}) if line is None else parse_line(line)

    def expect(self, kind, progress=None):
        """The fields of the next line of that kind; lines of progress in front of it are handed on."""
        found, fields = self.next()
        while found == "progress":
            if progress:
                progress(fields)
            found, fields = self.next()
        if found == kind:
            return fields
        if found == "refused":
            raise DemoError(f"{self.name} was refused ({fields['what']}, {fields['code']}): {fields['text']}")
        raise DemoError(f"{self.name} said '{found}' instead of '{kind}': {self._why()}")

    def rest(self):
        """All lines up to the end."""
        lines = []
        while (line := self.next())[0] is not None:
            lines.append(line)
        return lines

    def end(self):
        """Lets it end by itself: its exit status."""
        self.process.stdin.close()
        self.rest()
        return self.process.wait(PATIENCE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)

    def _why(self):
        try:
            status = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return "it still runs"
        self.threads[1].join(PATIENCE)
        return "".join(self.complaints).strip()[-2000:] or f"it ended with {status}"


class Svmd:
    """svmd in a folder of its own, with a recorded machine."""

    def __init__(self, build, folder, machine):
        self.build, self.folder = build, folder
        self.runtime, self.state = os.path.join(folder, "run"), os.path.join(folder, "state")
        self.log = os.path.join(folder, "svmd.log")
        config = os.path.join(folder, "svmd.conf")
        for path in (self.runtime, self.state):
            os.mkdir(path, 0o755)
        with open(config, "w", encoding="ascii"):
            pass
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([os.path.join(build, "svmd"), "--config", config, "--runtime-dir",
                                             self.runtime, "--state-dir", self.state, "--machine", machine],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def socket(self, name="svmd.sock"):
        return os.path.join(self.runtime, name)

    def wait_ready(self):
        for name in ("svmd.sock", "admin.sock"):
            self._wait_socket(self.socket(name))

    def _wait_socket(self, path):
        end = time.monotonic() + PATIENCE
        while True:
            if self.process.poll() is not None:
                raise DemoError(f"svmd ended with {self.process.returncode} instead of starting:\n{self.log_tail()}")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                try:
                    s.connect(path)
                    return
                except OSError:
                    pass
            if time.monotonic() > end:
                raise DemoError(f"svmd does not listen on {path} after {PATIENCE} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-20:])

    def program(self, program, *arguments, name=None):
        return Program([os.path.join(self.build, f"svmd-demo-{program}"), *map(str, arguments)],
                       name or f"the {program}")

    def admin(self, partition, *command):
        program = self.program("admin", "--socket", self.socket("admin.sock"), "--name", partition, *command)
        lines = program.rest()
        if program.end() != 0 or not lines or lines[-1][0] != "bye":
            refused = [fields["text"] for kind, fields in lines if kind == "refused"]
            raise DemoError(f"'{' '.join(command)}' failed: {refused or program.complaints}")
        return lines[:-1]

    def ctl(self, *arguments):
        done = subprocess.run([os.path.join(self.build, "svmd-ctl"), "--runtime-dir", self.runtime, *arguments],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", errors="replace", timeout=PATIENCE, check=False)
        return done.returncode, done.stdout

    def keepers(self):
        """Processes, other than svmd, that were started for this runtime folder."""
        found, wanted = [], self.runtime.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if b"keeper" in os.path.basename(words[0]) and any(wanted in word for word in words[1:]):
                found.append(int(pid))
        return found

    def stop(self):
        """svmd's exit status, and the keepers that outlived it."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise DemoError(f"svmd does not end {PATIENCE} s after SIGINT:\n{self.log_tail()}") from None
        end = time.monotonic() + PATIENCE
        while (left := self.keepers()) and time.monotonic() < end:
            time.sleep(0.02)
        return status, left

    def destroy(self):
        """Whatever happened: nothing of it stays."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(PATIENCE)
        for pid in self.keepers():
            os.kill(pid, signal.SIGKILL)


def make_machine(source, folder, gpus, memory):
    """A recorded machine, by the generator that the tests use."""
    subprocess.run([sys.executable, os.path.join(source, "tests/backend/mkmachine.py"), folder, "--gpus", str(gpus),
                    "--hives", "2", "--mem", memory, "--cpus", "2"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
