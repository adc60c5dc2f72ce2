#!/usr/bin/env python3
"""GPUs that go and come while svmd runs: one that its driver has no longer is lost, and says why; the other one stays what it
is, though the driver's numbers close up; it is online again when it is back. Another one in its place is not taken for it. A
probe that dies changes nothing. One that was not there when svmd started is told of by doctor. The probe is the real one
behind a filter that leaves a GPU out, or says that it is other hardware.

usage: rescan.py BUILD"""
import sys

import nodes
import probe

LOOK = """
PROBE = '''#!/bin/sh
[ -e {run}/dead ] && kill -ABRT $$
{build}/svmd-probe-kfd > {run}/said.$$
[ -e {run}/other ] && exec awk -v g=$(cat {run}/other) '$1 == "card" && $2 == g {{ $3 = "0xabc" }} {{ print }}' {run}/said.$$
[ -e {run}/gone ] || exec cat {run}/said.$$
exec awk -v g=$(cat {run}/gone) '
$1 == "node" || $1 == "gpu" || $1 == "card" {{ if ($2 == g) next; if ($2 > g) $2-- }}
$1 == "link" {{ if ($2 == g || $3 == g) next; if ($2 > g) $2--; if ($3 > g) $3-- }}
{{ print }}' {run}/said.$$
'''
def put(name, text=""):
    with open(run + "/" + name, "w") as f:
        f.write(text)
def gpus():
    return {n["name"]: [n["online"], n["trouble"]] for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd" and n["id"] < 256}
def until(good, get):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        got = get()
        if good(got):
            return got
        time.sleep(0.02)
    return got
def findings(name):
    return [f["text"] for f in json.loads(ctl("doctor")) if f["id"] == name]
def log():
    return open(run + "/log").read().count("could not be asked again")
def look():
    global svmd, options
    put("probe", PROBE.format(run=run, build=build))
    os.chmod(run + "/probe", 0o755)
    # What the devices' files are called is this test's to say.
    os.remove(run + "/sys/class")
    os.makedirs(run + "/sys/class/drm")
    os.symlink("/sys/class/kfd", run + "/sys/class/kfd")
    def change():
        change.count += 1
        put(f"sys/class/drm/card{100 + change.count}")
    change.count = 0
    def anew(number, *more):
        global svmd, options
        svmd.send_signal(number)
        svmd.wait(30)
        options = ("--kfd-probe=" + run + "/probe", *more)
        svmd = start()
        await_probe()
    anew(signal.SIGINT, "--device-period=1")
    said = {"first": gpus()}
    one, other = said["first"]
    put("gone", one[3:])
    change()
    said["gone"] = until(lambda g: not g[one][0], gpus)
    os.remove(run + "/gone")
    change()
    said["back"] = until(lambda g: g[one][0], gpus)
    put("other", one[3:])
    change()
    said["other"] = until(lambda g: not g[one][0], gpus)
    said["other row"] = sorted(n["name"] for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd" and n["id"] >= 256)
    os.remove(run + "/other")
    change()
    said["itself"] = until(lambda g: g[one][0], gpus)
    put("dead")
    change()
    said["dead"] = [until(lambda n: n, log) > 0, gpus()]
    os.remove(run + "/dead")
    said["none new"] = findings("devices-new")
    put("gone", one[3:])
    anew(signal.SIGINT, "--device-period=0")
    said["without"] = gpus()
    os.remove(run + "/gone")
    svmd.send_signal(signal.SIGHUP)
    said["new"] = until(lambda f: f, lambda: findings("devices-new"))
    said["with"] = gpus()
    said["rows"] = sorted(n["name"] for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd")
    anew(signal.SIGTERM)
    said["anew"] = [gpus(), findings("devices-new")]
    return said
"""


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    probe.need_emulator()
    with probe.generated(2, 1) as machine:
        said = nodes.show(build, machine, LOOK)
    online, lost = [True, None], [False, "AMD's driver has it no longer"]
    both = {"kfd1": online, "kfd2": online}
    wrong = [f"{key}: {said[key]}" for key in ("first", "back", "itself") if said[key] != both]
    wrong += [] if said["gone"] == {"kfd1": lost, "kfd2": online} else [f"gone: {said['gone']}"]
    other = [False, "AMD's driver has it no longer: another GPU is in its place, 0000:01:00.0"]
    wrong += [] if (said["other"], said["other row"]) == ({"kfd1": other, "kfd2": online}, ["kfd1-new"]) else [f"other: {said['other']}"]
    wrong += [] if said["dead"] == [True, both] else [f"a probe that dies: {said['dead']}"]
    wrong += [] if said["without"] == said["with"] == {"kfd1": online} else [f"new: {said['without']}, {said['with']}"]
    wrong += [] if not said["none new"] and len(said["new"]) == 1 and said["new"][0].startswith("1 device came") else [f"doctor: {said}"]
    wrong += [] if said["rows"] == ["kfd1", "kfd1-new"] else [f"rows: {said['rows']}"]
    wrong += [] if said["anew"] == [{"kfd1": online, "kfd1-2": online}, []] else [f"started anew: {said['anew']}"]
    print("GPUs that go and come while svmd runs: " + ("lost, online again, and told of" if not wrong else "; ".join(wrong)), flush=True)
    sys.exit(0 if not wrong else 1)


if __name__ == "__main__":
    main()
