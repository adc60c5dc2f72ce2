#!/usr/bin/env python3
"""run.py --build BUILD: partitions of svmd in containers of runc, crun and Podman. Needs root; at most 150 s.

What a runtime cannot do on this machine is named at the end as what does not apply; everything else has to be right.
"""
import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time

from host import HERE, MIB, NODES, PATIENCE, PODMAN, Failure, Host, expect, run, wait_for

SOURCES = os.path.dirname(os.path.dirname(HERE))
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


# ---- by hooks.d, with names ----

def hooks_folder(host):
    """What the package has for hooks.d, with the programs of this build."""
    folder = host.path("hooks.d")
    os.makedirs(folder)
    for name in ("svmd-hook.json", "svmd-hook-release.json"):
        with open(f"{SOURCES}/libclient/hook/{name}", encoding="utf-8") as file:
            hook = json.load(file)
        hook["hook"]["path"] = f"{host.build}/svmd-hook"
        hook["hook"]["args"][1:1] = ["--runtime-dir", host.run_dir]
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            json.dump(hook, file)
    return folder


def says(host):
    """What people and programs are shown of containers."""
    exporter = run(f"{host.build}/svmd-exporter", "--socket", f"{host.run_dir}/admin.sock", "--once")
    return {"usage": host.ctl("usage", "--by", "container"), "usage --json": host.ctl("usage", "--by", "container", "--json"),
            "top": host.ctl("top", "--once", "--json"), "the metrics": exporter}


def named(host):
    """A container and its pod have their names wherever svmd shows them, also after svmd was killed; and they go with it."""
    pod = ["--annotation=io.kubernetes.pod.name=web-0", "--annotation=io.kubernetes.pod.namespace=shop"]
    options = ["--annotation=org.svmd.partition=shop", "--annotation=org.svmd.size=4G", *pod]
    command = podman(host, "shop", *options)
    command[len(PODMAN):len(PODMAN)] = ["--hooks-dir", hooks_folder(host)]
    builder = host.builder("shop", *command, *host.arguments("shop", "green"))
    built(builder)
    name = f"shop-{os.getpid()}"
    for _ in range(2):
        wait_for("its name", lambda: all(name in text and "web-0" in text and "shop" in text for text in says(host).values()))
        host.kill_svmd()
        host.start()
    builder.send("quit")
    builder.process.wait(PATIENCE)
    wait_for("the note on it goes", lambda: not os.listdir(f"{host.run_dir}/containers"))
    expect("its name is left", name not in says(host)["usage"])


# ---- a hostile one ----

FAMILIES = ["ids", "packets", "descriptors", "files of memory", "userfaultfds", "mmap_lock", "storms", "readers", "replays",
            "races", "exec and numbers of processes", "administration"]
CONTAINED = "/bin/svmd-contained"
INSIDE = "/run/svmd/client/svmd.sock"


def keeper_of(host):
    """The number of the keeper of this svmd, which has its folder among its arguments."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if words[0].endswith("svmd-keeper") and any(word.startswith(host.run_dir) for word in words):
            return pid
    raise Failure("svmd has no keeper")


def resident(host):
    with open(f"/proc/{host.svmd.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def steps_of(witness):
    """How many it has done, when it was seen that it has all that it had."""
    return int(witness.ask("check")[0].split(" ")[1])


def witnesses(host):
    """One in a container, of the same user as the hostile one in its own, and one on the host; where the first one is."""
    inside = host.builder("the witness in a container",
                          *podman(host, "witness", "--device", "svmd.org/partition=calm-inside"), CONTAINED, "witness",
                          INSIDE, "calm-inside")
    place = inside.answer()[-1]
    outside = host.builder("the witness on the host", f"{host.build}/svmd-contained", "witness",
                           f"{host.run_dir}/svmd.sock", "calm-outside", f"{host.run_dir}/admin.sock", host.svmd.pid,
                           keeper_of(host))
    outside.answer()
    return [inside, outside], dict(pair.split("=") for pair in place.split(" ")[1:])


def hostile(host):
    """Whatever root of a container does, its own partition alone has to do with it."""
    for name in ("calm-inside", "calm-outside", "lab"):
        host.partition(name, "--cdi")
    watching, at = witnesses(host)
    attacker = host.builder("the hostile container", *podman(host, "hostile", "--device", "svmd.org/partition=lab"),
                            CONTAINED, "hostile", INSIDE, 0, at["session"], at["address"], at["size"], at["host"], at["gpu"])
    attacker.answer()
    watching[1].ask("note")
    calm = {name: host.used(name) for name in ("calm-inside", "calm-outside")}
    memory = resident(host)
    attacker.ask("names calm-inside calm-outside")
    for family in FAMILIES:
        before = [steps_of(witness) for witness in watching]
        attacker.ask(family)
        for witness, steps in zip(watching, before):
            expect(f"{witness.name} stood still beside '{family}'", steps_of(witness) > steps + 1)
    wait_for("what the witnesses had", lambda: calm == {name: host.used(name) for name in calm})
    wait_for("what the hostile container had", lambda: sum(host.used("lab").values()) == 0)
    expect(f"svmd has grown from {memory} to {resident(host)} bytes", resident(host) < memory + 64 * MIB)
    for program in (*watching, attacker):
        program.process.stdin.close()
        expect(f"{program.name} ended with a failure", program.process.wait(PATIENCE) == 0)


# ---- sharing ----

def lent(host):
    """A container reads what another one lends it, at the same address; taken back, it has lost it, whether it hears or not."""
    for name in ("lender", "borrower"):
        host.partition(name, "--cdi")
    owner = host.builder("lender", *podman(host, "lender", "--device", "svmd.org/partition=lender"), "/bin/svmd-lent",
                         "owner", INSIDE, "lender", "shelf")
    owner.ask("fill 1")
    host.ctl("share", "set", "shelf", "borrower", "--partition", "lender")
    guest = host.builder("borrower", *podman(host, "borrower", "--device", "svmd.org/partition=borrower", *host.user_namespace),
                         "/bin/svmd-lent", "guest", INSIDE, "lender", "shelf")
    expect("the guest cannot have what is lent", guest.fact("open") == "OK")
    expect("the guest has it at another address", guest.fact("where") == owner.fact("where"))
    seen = [program.fact("check 1") for program in (guest, owner)]
    expect(f"what is lent is not what was written: {seen}", seen == ["0", "0"])
    host.kill_svmd()
    host.start()
    owner.ask("fill 2")
    expect("the guest does not see what was written", guest.fact("check 2") == "0")
    expect("the guest has nothing mapped", guest.fact("pages") != "0")
    host.ctl("share", "remove", "shelf", "borrower", "--partition", "lender", "--yes")
    wait_for("the guest's pages", lambda: guest.fact("pages") == "0")
    expect("the owner has lost something", owner.fact("check 2") == "0")
    owner.ask("fill 3")
    expect("what came back came to the guest", guest.fact("pages") == "0")
    expect("a thread of the guest read what it has lost", guest.fact("hear") == "thread found nothing")
    expect("the guest opened it again", guest.fact("open") == "NO_SUCH")
    expect("the owner has lost something", owner.fact("check 3") == "0")
    for program in (guest, owner):
        program.process.stdin.close()
        expect(f"{program.name} ended with a failure", program.process.wait(PATIENCE) == 0)


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
    spec["annotations"] = {"org.svmd.name": f"called-{name}", "org.svmd.size": size, "org.svmd.max.gpu0": "32M", "org.svmd.max.gpu1": "12M",
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
    wait_for("its name", lambda: all(f"called-{name}" in text for text in says(host).values()))
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


def starts(host, runtime, name, change):
    """Whether a container with a changed configuration starts, and what is said."""
    folder = bundle(host, name, "4G", False)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"]["args"] = ["/bin/busybox", "true"]
    change(spec)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    host.ids.append((runtime, name))
    done = subprocess.run([*runtime, "run", "--bundle", folder, name], capture_output=True, text=True,
                          timeout=2 * PATIENCE, check=False)
    return done.returncode == 0, done.stderr


def refused(host, runtime, name):
    """What svmd cannot give keeps the container from starting, and leaves nothing."""
    for number, annotations, why in ((1, {"org.svmd.size": "3G"}, "multiple of 4 GiB"),
                                     (2, {"org.svmd.min.gpu0": "16M", "org.svmd.min.gpu1": "100G",
                                          "org.svmd.max.gpu1": "none"}, "gpu1")):
        good, said = starts(host, runtime, f"{name}-{number}", lambda spec: spec["annotations"].update(annotations))
        expect(f"a container started without {annotations}", not good)
        expect(f"nobody was told why: {said}", why in said)
        expect("a partition is left", f"{name}-{number}" not in host.ctl("partition", "list"))
    promised = {node["node"]: node["min"] for p in host.json("partition", "list") for node in p["nodes"] if node.get("min")}
    expect(f"something is promised still: {promised}", not promised)


def without_svmd(host, runtime, name):
    """While svmd is away a container does not start, unless its hook fails open."""
    def hook_with(*words):
        return lambda spec: [hooks[0]["args"].__setitem__(slice(1, 1), words) for hooks in spec["hooks"].values()]

    host.kill_svmd()
    try:
        good, said = starts(host, runtime, f"{name}-closed", hook_with("--timeout", "1"))
        expect("a container started without svmd", not good)
        expect(f"nobody was told why: {said}", "svmd did not answer in time" in said)
        good, said = starts(host, runtime, f"{name}-open", hook_with("--timeout", "1", "--fail-open"))
        expect(f"a container whose hook fails open did not start: {said}", good)
    finally:
        host.start()


def limit_memory(folder, size):
    """Host memory of the bundle's container, by a name that says whose it is; returns that."""
    container = secrets.token_hex(32)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec["linux"]["cgroupsPath"] = f"/docker/{container}"
    spec["linux"]["resources"] = {"memory": {"limit": size}}
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return container


def bounded(host, runtime, name, neighbour):
    """A container reaches its limit of host memory: its pages go to devices, it is told by name, and nobody is harmed."""
    other = host.builder(neighbour, *runtime, "run", "--bundle", bundle(host, neighbour, "4G", False), neighbour)
    folder = bundle(host, name, "4G", False)
    container = limit_memory(folder, 16 * MIB)
    host.ids += [(runtime, neighbour), (runtime, name)]
    built(other)
    builder = host.builder(name, *runtime, "run", "--bundle", folder, name)
    built(builder)
    expect("the bounded container has other words than its text", builder.words() == host.counts["green"])
    rows = [row for row in host.json("usage", "--drift") if row["container"] == f"docker:{container}"]
    expect(f"usage does not say what the kernel lets it have: {rows}",
           any(row["source"] == "memcg" and row["limit"] == 16 * MIB and row["reported"] <= 16 * MIB for row in rows))
    told = [row["text"] for row in json.loads(host.ctl("doctor", "--json")) if row["id"] == "group-full"]
    expect(f"doctor does not name it: {told}", any(container in text for text in told))
    expect("the bounded container has less on devices than the neighbour without a limit",
           host.used(name)["gpu0"] > host.used(neighbour).get("gpu0", 0))
    expect("the neighbour has other words than its text", other.words() == host.counts["green"])
    for program in (builder, other):
        program.send("quit")
        program.process.wait(PATIENCE)
    for partition in (name, neighbour):
        host.ctl("wait", f"partition {partition} gone", "--timeout", PATIENCE)


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
    arguments = parser.parse_args()
    host, group = Host(arguments.build), Group()
    missing = [name for name in ("runc", "crun", "podman") if not shutil.which(name)]
    try:
        if missing or os.geteuid() != 0:
            raise Failure(f"this needs root and {', '.join(missing) or 'nothing else'}")
        probe(host, group)
        # Before svmd is killed: another one answers differently about what the one before may have done.
        group.case("the hostile families in a container", hostile, host)
        builders = group.case("two containers of Podman and the host, by CDI", together, host)
        if builders:
            group.case("svmd killed under them", restarted, host, builders)
            group.case("usage by container", attributed, host, builders)
            group.case("a container and other partitions", confined, host, builders)
            group.case("a container killed with its monitor", killed, host, builders)
        group.case("Podman, by annotations and hooks.d, with names", named, host)
        group.case("a container lends to another one", lent, host)
        runc = ["runc", "--root", host.path("runc")]
        group.case("runc, by annotations", hooked, host, runc, "r1")
        group.case("runc, in a user namespace", hooked, host, runc, "r2", True)
        group.case("runc, killed", crashed, host, runc, "r3")
        group.case("runc, refused", refused, host, runc, "r4")
        group.case("runc, without svmd", without_svmd, host, runc, "r5")
        group.case("runc, at its limit of host memory", bounded, host, runc, "r6", "r7")
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
