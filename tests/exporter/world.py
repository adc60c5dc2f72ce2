"""A svmd of two devices with links, at work; and exporters on sockets that stand in for systemd's."""
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PATIENCE = 30
CONTAINER = "7" * 64
GROUP = "games"  # some group that every Debian has
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class TestError(Exception):
    pass


def wait_for(what, ready):
    """The first true value of ready()."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.02)
    raise TestError(f"{what}: not within {PATIENCE} s")


def expect(what, condition):
    if not condition:
        raise TestError(what)


class World:
    """svmd, and one client at work in it, which svmd takes to be in a container."""

    def __init__(self, build, work=True):
        self.build = os.path.abspath(build)
        self.folder = tempfile.TemporaryDirectory(prefix="svmd-exporter-")
        os.chmod(self.folder.name, 0o755)
        self.socket = self.path("run/svmd.sock")
        self.processes, self.load = [], None
        self.make_proc()
        subprocess.run([sys.executable, os.path.join(SOURCE, "tests/backend/mkmachine.py"), self.path("machine"), "--gpus",
                        "2", "--cpus", "1", "--mem", "64M", "--host-mem", "256M"], check=True, stdout=subprocess.DEVNULL)
        with open(self.path("conf"), "w", encoding="ascii"):
            pass
        self.start_svmd()
        if work:
            self.work()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def make_proc(self):
        os.mkdir(self.path("proc"))
        for name in ("meminfo", "sys", "self", "version", "misc"):
            if os.path.exists(f"/proc/{name}"):
                os.symlink(f"/proc/{name}", self.path(f"proc/{name}"))

    def contain(self, pid, group):
        """From now on svmd sees the process in that control group."""
        os.mkdir(self.path(f"proc/{pid}"))
        for name in ("stat", "status", "fdinfo", "fd", "mem", "maps"):
            os.symlink(f"/proc/{pid}/{name}", self.path(f"proc/{pid}/{name}"))
        with open(self.path(f"proc/{pid}/cgroup"), "wb") as file:
            file.write(b"0::" + group + b"\n")

    def spawn(self, *arguments, **options):
        process = subprocess.Popen(arguments, **options)
        self.processes.append(process)
        return process

    def start_svmd(self):
        self.svmd = self.spawn(
            os.path.join(self.build, "svmd"), "--config", self.path("conf"), "--runtime-dir", self.path("run"),
            "--state-dir", self.path("state"), "--machine", self.path("machine"), "--proc-root", self.path("proc"),
            "--default-limit", "*=4M", "--link-rate", "*:*=1G", "--metrics-group", GROUP, "--log-level", "warning")
        wait_for("svmd answers", lambda: self.once(check=False)[0] == 0)

    def work(self):
        self.load = self.spawn(os.path.join(self.build, "exporter-load"), env=dict(os.environ, SVMD_SOCKET=self.socket),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.contain(self.load.pid, b"/system.slice/docker-" + CONTAINER.encode() + b".scope")
        with open(f"/proc/{self.load.pid}/stat", encoding="ascii") as file:
            started = file.read().rpartition(")")[2].split()[19]
        with open(self.path(f"run/containers/{CONTAINER}"), "w", encoding="ascii") as file:  # as svmd-hook does
            file.write(f"{self.load.pid} {started}\nweb\nweb-0\nshop\n")
        self.load.stdin.write(b"go\n")
        self.load.stdin.flush()
        expect("the client did not come to work", self.load.stdout.readline() == b"ready\n")

    def exporter(self):
        return os.path.join(self.build, "svmd-exporter")

    def once(self, *options, check=True, prefix=()):
        """Exit status, page and complaints of --once."""
        done = subprocess.run([*prefix, self.exporter(), "--once", "--socket", self.path("run/admin.sock"), *options],
                              capture_output=True, timeout=PATIENCE, check=False)
        if check and done.returncode:
            raise TestError(f"svmd-exporter --once ended with {done.returncode}: {done.stderr.decode()}")
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def serve(self, listener, *options, member=True):
        """An exporter of an unprivileged user, of the group or not, with the socket as systemd hands it over."""
        groups = ["--groups", str(group_id(GROUP))] if member else ["--clear-groups"]
        script = 'exec 3<&"$1"; shift; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        return self.spawn("setpriv", "--reuid=65534", "--regid=65534", *groups, "bash", "-c", script, "-",
                          str(listener.fileno()), self.exporter(), "--socket", self.socket, *options,
                          pass_fds=[listener.fileno()])

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()


def group_id(name):
    with open("/etc/group", encoding="utf-8") as file:
        return next(int(line.split(":")[2]) for line in file if line.startswith(name + ":"))


def listener():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(128)
    return s


def ask(port, method="GET", path="/metrics", **headers):
    """Status, type and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.getheader("Content-Type"), text
