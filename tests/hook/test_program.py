#!/usr/bin/env python3
"""test_program.py BUILD: svmd-hook as runtimes call it, against a svmd; a process that sleeps stands for a container's."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30


def wait_for(what, ready):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


class World:
    def __init__(self, build):
        self.build, self.folder = os.path.abspath(build), tempfile.TemporaryDirectory(prefix="svmd-hook-")
        self.processes, self.svmd = [], None
        with open(f"{self.folder.name}/conf", "w", encoding="ascii") as file:
            file.write("[svmd]\nhost-capacity = 256M\ndefault-partition-size = 4G\n[node gpu0]\nsize = 64M\n")
        self.run_dir = f"{self.folder.name}/run"
        self.start()

    def start(self):
        with open(f"{self.folder.name}/log", "a", encoding="utf-8") as log:
            self.svmd = subprocess.Popen([f"{self.build}/svmd", "--config", f"{self.folder.name}/conf", "--runtime-dir",
                                          self.run_dir, "--state-dir", f"{self.folder.name}/state"], stderr=log)
        self.ctl("wait", "ready", "--timeout", str(PATIENCE))

    def ctl(self, *words):
        return subprocess.run([f"{self.build}/svmd-ctl", "--runtime-dir", self.run_dir, *words], capture_output=True,
                              text=True, timeout=2 * PATIENCE, check=True).stdout

    def partitions(self):
        return {p["name"]: p for p in json.loads(self.ctl("partition", "list", "--json"))}

    def container(self):
        process = subprocess.Popen(["sleep", "600"])
        self.processes.append(process)
        return process

    def hook(self, *words, state=None, text=None, status=0):
        """What it wrote to standard error."""
        text = text if text is not None else json.dumps({"ociVersion": "1.0.2", "bundle": "/nowhere", **state})
        done = subprocess.run([f"{self.build}/svmd-hook", "--runtime-dir", self.run_dir, *words], input=text,
                              capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
        assert done.returncode == status, (words, state, done)
        assert (done.stderr != "") == (status != 0 or "--fail-open" in words), done
        return done.stderr

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait(PATIENCE)
        self.svmd.send_signal(signal.SIGCONT)
        self.svmd.send_signal(signal.SIGINT)
        self.svmd.wait(PATIENCE)
        self.folder.cleanup()


def state_of(name, process, **annotations):
    return {"id": name, "pid": process.pid,
            "annotations": {f"org.svmd.{key}": value for key, value in annotations.items()}}


def test_made(w):
    """Made once, with its limits; another container is refused; released once, and again."""
    process = w.container()
    state = state_of("c1", process, **{"size": "8G", "domain": "shop", "max.gpu0": "48M", "min.gpu0": "40M"})
    w.hook("attach", state=state)
    w.hook("attach", state=state)
    row = w.partitions()["c1"]
    assert row["container"] == "c1" and row["length"] == 8 << 30 and row["domain"] == "shop", row
    limits = {node["node"]: node for node in row["nodes"]}
    assert limits["gpu0"]["max"] == 48 << 20 and limits["gpu0"]["min"] == 40 << 20, row
    other = state_of("c2", w.container(), partition="c1")
    assert "belongs to container c1" in w.hook("attach", state=other, status=1)
    w.hook("release", state=other)
    assert "c1" in w.partitions()
    w.hook("release", state={**state, "pid": 0})
    assert "c1" not in w.partitions()
    w.hook("release", state={**state, "pid": 0})


def test_all_or_nothing(w):
    """A min that does not fit: the container does not start, and nothing is left."""
    state = state_of("big", w.container(), **{"min.gpu0": "63M", "min.host0": "100G"})
    w.hook("attach", state=state, status=1)
    assert "big" not in w.partitions()
    state = state_of("big", w.container(), domain="a shop")
    assert "a domain has" in w.hook("attach", state=state, status=1)
    state = state_of("big", w.container(), **{"min.gpu7": "1M"})
    assert "names a node that svmd has not" in w.hook("attach", state=state, status=1)


def test_there_already(w):
    w.ctl("partition", "create", "train")
    process = w.container()
    w.hook("attach", "train", state=state_of("c3", process))
    w.hook("attach", state=state_of("c3", process, partition="train"))
    assert "limits of its own" in w.hook("attach", state=state_of("c3", process, partition="train", size="4G"), status=1)
    w.hook("release", "train", state=state_of("c3", process))
    assert "train" in w.partitions()
    w.ctl("partition", "delete", "train", "--yes")
    assert "there is no partition train" in w.hook("attach", "train", state=state_of("c3", process), status=1)
    w.hook("attach", state=state_of("c3", process))  # asks for nothing


def test_crashed(w):
    """The runtime calls no hook any more: svmd sees the container end, with svmd there or not."""
    first, second, third = w.container(), w.container(), w.container()
    for name, process in (("k1", first), ("k2", second), ("k3", third)):
        w.hook("attach", state=state_of(name, process, size="4G"))
    session = subprocess.Popen([f"{w.build}/svmd-hello", "1", "stay"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env={**os.environ, "SVMD_SOCKET": f"{w.run_dir}/p/k1/svmd.sock"})
    w.processes.append(session)
    w.ctl("wait", "partition k1 sessions = 1", "--timeout", str(PATIENCE))
    first.kill()
    first.wait(PATIENCE)
    w.ctl("wait", "partition k1 gone", "--timeout", str(PATIENCE))
    w.svmd.kill()
    w.svmd.wait(PATIENCE)
    second.kill()
    second.wait(PATIENCE)
    w.start()
    w.ctl("wait", "partition k2 gone", "--timeout", str(PATIENCE))
    assert w.partitions()["k3"]["container"] == "k3"
    third.kill()
    third.wait(PATIENCE)
    w.ctl("wait", "partition k3 gone", "--timeout", str(PATIENCE))
    assert os.listdir(f"{w.run_dir}/p") == [], os.listdir(f"{w.run_dir}/p")


def test_ended_before(w):
    process = w.container()
    process.kill()
    process.wait(PATIENCE)
    w.hook("attach", state=state_of("gone", process, size="4G"), status=1)
    w.hook("attach", state={"id": "gone", "annotations": {"org.svmd.size": "4G"}}, status=1)


def note_of(w, name):
    with open(f"{w.run_dir}/containers/{name}", encoding="ascii") as file:
        return file.read().splitlines()


def test_names(w):
    """As each runtime says them; without any there is no note, and it goes with the container."""
    crio = {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"}
    containerd = {"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.sandbox-name": "web-0",
                  "io.kubernetes.cri.sandbox-namespace": "shop"}
    for name, said, expected in (("n1", crio, ["web", "web-0", "shop"]), ("n2", containerd, ["web", "web-0", "shop"]),
                                 ("n3", {"nerdctl/name": "db"}, ["db", "", ""]),
                                 ("n4", {"org.svmd.name": "mine", **crio}, ["mine", "web-0", "shop"]),
                                 ("n5", {"nerdctl/name": "a\nb c", "io.kubernetes.pod.name": 7}, ["a?b?c", "", ""])):
        state = state_of(name, w.container(), size="4G")
        state["annotations"].update(said)
        w.hook("attach", state=state)
        first, *names = note_of(w, name)
        assert first.split()[0] == str(state["pid"]) and names == expected, (first, names)
        w.hook("release", state={**state, "pid": 0})
        assert not os.path.exists(f"{w.run_dir}/containers/{name}")
    process = w.container()
    w.hook("attach", state=state_of("n6", process, size="4G"))
    assert os.listdir(f"{w.run_dir}/containers") == []
    w.hook("release", state=state_of("n6", process, size="4G"))


def test_name_of_conmon(w):
    """Podman's is what it told conmon, which runs the OCI runtime, which runs the hook."""
    conmon, script = f"{w.folder.name}/conmon", f"{w.folder.name}/script"
    shutil.copy(shutil.which("bash"), conmon)
    with open(script, "w", encoding="ascii") as file:
        file.write(f'"{shutil.which("bash")}" -c \'"{w.build}/svmd-hook" --runtime-dir "{w.run_dir}" attach; true\'; true\n')
    for name, said, expected in (("m1", "m1", ["front", "", ""]), ("m2", "another", None)):
        state = {"ociVersion": "1.0.2", "bundle": "/nowhere", **state_of(name, w.container(), size="4G")}
        subprocess.run([conmon, script, "-c", said, "-n", "front"], input=json.dumps(state), text=True, check=True,
                       timeout=PATIENCE)
        assert name in w.partitions()
        if expected:
            assert note_of(w, name)[1:] == expected
        else:
            assert not os.path.exists(f"{w.run_dir}/containers/{name}")
        w.hook("release", state=state)


def test_bounds(w):
    process = w.container()
    state = state_of("late", process, size="4G")
    assert "no JSON" in w.hook("attach", text="{", status=1)
    w.hook("attach", "--fail-open", text="{")
    assert "longer than 1 MiB" in w.hook("attach", text=" " * (1 << 20), status=1)
    w.hook("start", text="{}", status=2)
    w.svmd.send_signal(signal.SIGSTOP)
    assert "did not answer in time" in w.hook("attach", "--timeout", "1", state=state, status=1)
    w.hook("attach", "--timeout", "1", "--fail-open", state=state)
    w.svmd.send_signal(signal.SIGCONT)
    w.hook("release", state=state)


def main():
    world = World(sys.argv[1])
    try:
        for name, test in list(globals().items()):
            if name.startswith("test_"):
                test(world)
                print(f"{name}: good")
    finally:
        world.end()


if __name__ == "__main__":
    main()
