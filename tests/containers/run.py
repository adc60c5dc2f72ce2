#!/usr/bin/env python3
"""run.py --build BUILD [--start-cost]: partitions of svmd in containers of runc, crun and Podman. Needs root; at most 90 s.

--start-cost only measures what a partition adds to the start of a container.

What a runtime cannot do on this machine is named at the end as what does not apply; everything else has to be right.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

from host import MIB, NODES, PATIENCE, PODMAN, Failure, Host, expect, run, wait_for

LIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"]


def podman(host, name, *options):
    return [*PODMAN, "run", "--interactive", "--name", f"{name}-{os.getpid()}", "--label", f"of={os.getpid()}",
            "--network=none", *LIMITS, *options, "--rootfs", host.root]


def built(builder):
    line = next(line for line in builder.ask("build") if line.startswith("built "))
    return dict(pair.split("=", 1) for pair in line.split(" ")[1:])


def check_words(host, builders):
    for name, builder in builders.items():
        words = builder.words()
        expect(f"{name} has other words than its text: {words}", words == host.counts[name])


def check_limits(host, name, builder):
    refusals = [line for line in builder.ask("limits") if line.startswith("refused ")]
    expect(f"{name} was given more than it may have: {refusals}",
           len(refusals) == 2 and all("code=LIMIT" in line for line in refusals))
    builder.ask("spread")
    used = host.used(name)
    expect(f"{name} holds {used}, more than its limits", all(used.get(node, 0) <= size for node, size in NODES.items()))
    expect(f"{name} has nothing on devices: {used}", used.get("gpu0", 0) > 0 and used.get("gpu1", 0) > 0)
    out = run(f"{host.build}/svmd-ctl", "--runtime-dir", host.run_dir, "migrate", "index", "gpu1", "--partition", name,
              status=1)
    used = host.used(name)["gpu1"]
    expect(f"{name} holds {used} on gpu1: {out}", 8 * MIB <= used <= NODES["gpu1"])


def together(host):
    """Two containers of Podman and a process of the host, of other users and another user namespace, at once."""
    host.partition("blue", "--domain", "blue", "--cdi")
    host.partition("green", "--domain", "green", "--cdi")
    host.partition("plain", "--owner", "61001:61001")
    builders = {
        "blue": host.builder("blue", *podman(host, "blue", "--device", "svmd.org/partition=blue"),
                             *host.arguments("blue", "blue"),
                             "--uid", 2001, "--gid", 2001),
        "green": host.builder("green", *podman(host, "green", "--device", "svmd.org/partition=green",
                                               *host.user_namespace), *host.arguments("green", "green")),
        "plain": host.builder("plain", *host.arguments("plain", "plain", inside=False), "--socket",
                              f"{host.run_dir}/svmd.sock", "--uid", 61001, "--gid", 61001),
    }
    where = {name: built(builder)["address"] for name, builder in builders.items()}
    expect(f"blue and green do not have the same pointer: {where}", where["blue"] == where["green"])
    check_words(host, builders)
    for name, builder in builders.items():
        check_limits(host, name, builder)
    check_words(host, builders)
    return builders


def restarted(host, builders):
    """svmd is killed under all of them: nothing is lost, and they go on."""
    before = {name: builder.ask("walk") for name, builder in builders.items()}
    host.kill_svmd()
    host.start()
    expect("a sum has changed", before == {name: builder.ask("walk") for name, builder in builders.items()})
    check_words(host, builders)


def attributed(host, builders):
    """Usage has each container by the id that its runtime gave it."""
    ids = {name: run(*PODMAN, "inspect", "--format", "{{.Id}}", f"{name}-{os.getpid()}").strip()
           for name in ("blue", "green")}
    rows = json.dumps(host.json("usage", "--by", "container"))
    for name, container in ids.items():
        expect(f"usage does not have container {name}, {container}: {rows}", container in rows)


def confined(host, builders):
    """A container names and reaches no other partition, and administers nothing."""
    for partition in ("green", "plain", "nothing"):
        out = run(*podman(host, f"spy-{partition}", "--rm", "--device", "svmd.org/partition=blue"), "/bin/busybox", "env",
                  f"SVMD_PARTITION={partition}", "/bin/svmd-hello", "1", status=1)
        expect(f"a container of blue had {partition}: {out}", "hello" not in out.replace("svmd-hello", ""))
    out = run(*podman(host, "look", "--rm", "--device", "svmd.org/partition=blue"), "/bin/busybox", "find", "/run/svmd")
    expect(f"a container sees more than its socket: {out}",
           sorted(out.split()) == ["/run/svmd", "/run/svmd/client", "/run/svmd/client/svmd.sock"])
    check_words(host, builders)


def killed(host, builders):
    """A container and its runtime's monitor are killed: its memory is free at once, and the others have theirs."""
    out = run(*PODMAN, "inspect", "--format", "{{.State.ConmonPid}} {{.State.Pid}}", f"blue-{os.getpid()}").split()
    for pid in out:
        os.kill(int(pid), signal.SIGKILL)
    wait_for("what the killed container had", lambda: sum(host.used("blue").values()) == 0)
    rest = {name: builders[name] for name in ("green", "plain")}
    check_words(host, rest)
    for builder in rest.values():
        builder.send("quit")
        builder.process.wait(PATIENCE)
    wait_for("what the others had", lambda: sum(host.used("green").values()) == 0)
    for name in ("blue", "green"):
        host.ctl("partition", "delete", name, "--end-sessions", "--yes")
        expect(f"the specification of {name} is left", not os.path.exists(f"/var/run/cdi/svmd.org-partition_{name}.json"))


# ---- runc and crun, with the hook ----

def bundle(host, name, size, users):
    """A bundle with hooks and annotations; as `runc spec` makes it otherwise."""
    folder = host.path(name)
    os.makedirs(folder)
    run("runc", "spec", "--bundle", folder)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        spec = json.load(file)
    hook = [f"{host.build}/svmd-hook", "--runtime-dir", host.run_dir]
    spec["process"].update(terminal=False, args=[str(word) for word in host.arguments(name, "green")])
    spec["root"] = {"path": host.root, "readonly": True}
    spec["annotations"] = {"org.svmd.size": size, "org.svmd.max.gpu0": "32M", "org.svmd.max.gpu1": "12M",
                           "org.svmd.max.host0": "96M"}
    spec["hooks"] = {"createRuntime": [{"path": hook[0], "args": ["svmd-hook", *hook[1:], "attach", "--mount"]}],
                     "poststop": [{"path": hook[0], "args": ["svmd-hook", *hook[1:], "release"]}]}
    if users:
        spec["linux"]["namespaces"].append({"type": "user"})
        spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return folder


def hooked(host, runtime, name, users=False):
    """A partition made for the container by its annotations: used, limited, and gone with it."""
    host.ids.append((runtime, name))
    builder = host.builder(name, *runtime, "run", "--bundle", bundle(host, name, "4G", users), name)
    built(builder)
    words = builder.words()
    expect(f"{name} has other words than its text: {words}", words == host.counts["green"])
    expect(f"partition {name} is not its container's", host.json("partition", "show", name)["container"] == name)
    check_limits(host, name, builder)
    builder.send("quit")
    builder.process.wait(PATIENCE)
    host.ctl("wait", f"partition {name} gone", "--timeout", PATIENCE)


def crashed(host, runtime, name):
    """The runtime and the container are killed, and no hook is called: svmd reaps the partition."""
    host.ids.append((runtime, name))
    builder = host.builder(name, *runtime, "run", "--bundle", bundle(host, name, "4G", False), name)
    built(builder)
    state = json.loads(run(*runtime, "state", name))
    builder.process.kill()
    os.kill(state["pid"], signal.SIGKILL)
    host.ctl("wait", f"partition {name} gone", "--timeout", PATIENCE)


def refused(host, runtime, name):
    """What svmd cannot give keeps the container from starting."""
    folder = bundle(host, name, "3G", False)
    host.ids.append((runtime, name))
    done = subprocess.run([*runtime, "run", "--bundle", folder, name], capture_output=True, text=True,
                          timeout=2 * PATIENCE, check=False)
    expect(f"a container started without its partition: {done}", done.returncode != 0)
    expect(f"nobody was told why: {done.stderr}", "multiple of 4 GiB" in done.stderr)


def start_cost(host, rounds=30):
    """What a partition of its own adds to the start of a container and its end, by runc: medians, measured in turns."""
    folders = {"with": bundle(host, "with", "4G", False), "without": bundle(host, "without", "4G", False)}
    for name, folder in folders.items():
        with open(f"{folder}/config.json", encoding="utf-8") as file:
            spec = json.load(file)
        spec["process"]["args"] = ["/bin/busybox", "true"]
        if name == "without":
            del spec["hooks"], spec["annotations"]
        with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
            json.dump(spec, file)
    times = {name: [] for name in folders}
    for number in range(rounds):
        for name, folder in folders.items():
            start = time.monotonic()
            run("runc", "--root", host.path("runc"), "run", "--bundle", folder, f"{name}{number}")
            times[name].append(1000 * (time.monotonic() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(json.dumps({"row": "container_start", "unit": "ms", "with": round(medians["with"], 1),
                      "without": round(medians["without"], 1), "ratio": round(medians["with"] / medians["without"], 3)}))


def crun(host):
    """crun wants control groups of version 2 alone, or none."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return ["crun", "--root", host.path("crun")]
    return ["unshare", "-m", "--propagation", "private", "bash", "-c", "umount -R -l /sys/fs/cgroup; "
            "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "_", "crun", "--root", host.path("crun"),
            "--cgroup-manager=disabled"]


class Group:
    def __init__(self):
        self.failed, self.absent = [], []

    def case(self, what, do, *arguments):
        start = time.monotonic()
        try:
            result = do(*arguments)
            print(f"  {what:<58} {time.monotonic() - start:5.1f} s", flush=True)
            return result
        except (Failure, OSError, subprocess.SubprocessError, KeyError, StopIteration) as error:
            self.failed.append(what)
            print(f"  {what:<58} FAILED: {error}", flush=True)
            return None


def probe(host, group):
    """What the machine can do."""
    host.user_namespace = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    done = subprocess.run(podman(host, "probe", "--rm", *host.user_namespace) + ["/bin/busybox", "true"],
                          capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    if done.returncode != 0:
        group.absent.append(f"Podman with a user namespace: {done.stderr.strip().splitlines()[-1:]}")
        host.user_namespace = []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--start-cost", action="store_true")
    arguments = parser.parse_args()
    host, group = Host(arguments.build), Group()
    missing = [name for name in ("runc", "crun", "podman") if not shutil.which(name)]
    try:
        if missing or os.geteuid() != 0:
            raise Failure(f"this needs root and {', '.join(missing) or 'nothing else'}")
        if arguments.start_cost:
            start_cost(host)
            return 0
        probe(host, group)
        builders = group.case("two containers of Podman and the host, by CDI", together, host)
        if builders:
            group.case("svmd killed under them", restarted, host, builders)
            group.case("usage by container", attributed, host, builders)
            group.case("a container and other partitions", confined, host, builders)
            group.case("a container killed with its monitor", killed, host, builders)
        runc = ["runc", "--root", host.path("runc")]
        group.case("runc, by annotations", hooked, host, runc, "r1")
        group.case("runc, in a user namespace", hooked, host, runc, "r2", True)
        group.case("runc, killed", crashed, host, runc, "r3")
        group.case("runc, refused", refused, host, runc, "r4")
        group.case("crun, by annotations", hooked, host, crun(host), "c1")
        group.case("crun, killed", crashed, host, crun(host), "c2")
    except Failure as failure:
        group.failed.append(str(failure))
        print(f"  {failure}")
    finally:
        host.end()
    for what in group.absent:
        print(f"  does not apply here: {what}")
    print(f"containers: {len(group.failed)} failed, {len(group.absent)} do not apply")
    return 1 if group.failed else 0


if __name__ == "__main__":
    sys.exit(main())
