#!/usr/bin/env python3
"""What AMD's driver tells comes to svmd over svmd-smi: counted for GPUs and for processes with sessions, whatever is cut,
foreign or floods; streams that end are said, and had again. FUSE gives no new descriptor, so the call that gives a stream
is a stand-in (svmd-smi-standin), and this program tells in the driver's place.

usage: events.py BUILD"""
import sys

import nodes
import probe

LOOK = """
import socket, threading
def listen(path, kind):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(path)
    s.listen(16)
    s.settimeout(30)
    return s
def until(good, get):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        got = get()
        if good(got):
            return got
        time.sleep(0.02)
    return got
def doctor():
    return [[f["level"], f["text"]] for f in json.loads(ctl("doctor")) if f["id"] == "kfd-events"]
def say(word):
    return until(lambda d: d and word in d[0][1], doctor)
def events(name):
    return json.loads(ctl("node", "show", name))["events"]
def counts(name, good):
    return until(good, lambda: events(name))
def smi(given):
    def to_three():
        os.dup2(given.fileno(), 3)
    return subprocess.Popen(["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", build + "/svmd-smi-standin", "--user", "0", "--idle", "0",
                             "--topology", "/sys/devices/virtual/kfd/kfd/topology/nodes"], preexec_fn=to_three, pass_fds=(3,),
                            env={**os.environ, "SMI_STANDIN": run + "/gpus"})
def look():
    global svmd
    await_probe()
    said = {"absent": say("svmd-smi.socket")}
    gpus = {n["name"]: int(open("/sys/devices/virtual/kfd/kfd/topology/nodes/" + n["name"][3:] + "/gpu_id").read())
            for n in json.loads(ctl("node", "list")) if n["kind"] == "kfd"}
    os.mkdir(run + "/gpus")
    told = {name: listen(run + "/gpus/" + str(gpu), socket.SOCK_STREAM) for name, gpu in gpus.items()}
    given = listen(run + "/run/smi.sock", socket.SOCK_SEQPACKET)
    helper = smi(given)
    def streams():
        got = {}
        for name, l in told.items():
            got[name] = l.accept()[0]
            said.setdefault("masks", []).append(int.from_bytes(got[name].recv(8, socket.MSG_WAITALL), "little"))
        return got
    ctl("reload")
    ends = streams()
    said["there"] = say("what happens on")
    helper.kill()
    helper.wait(30)
    client = subprocess.Popen([build + "/svmd-ctl", "--runtime-dir", run + "/run", "monitor"], stdout=subprocess.DEVNULL)
    find = lambda: [s["id"] for s in json.loads(ctl("session", "list")) if s["pid"] == client.pid]
    session = until(bool, find)[0]
    first, second = list(gpus)
    a, b, own, foreign = gpus[first], gpus[second], client.pid, 2147483000
    lines = [f"6 100 -{own} @10(20) 0->{a:x} 2 0", f"6 101 -{own} @10(8) {a:x}->{b:x} 2", f"6 102 -{foreign} @10(4) {a:x}->0 2 0",
             f"6 103 -{own} @10(80) 0->{a:x} 2 -12", "2 0:0", "nonsense", f"7 104 -{own} @10({a:x}) W", f"8 105 -{own} @10({a:x}) M",
             f"7 106 -{foreign} @10({a:x}) R", f"9 107 -{own} {b:x} 3", f"a 108 -{own} {b:x} \\0", f"b 109 -{own} @10(1) {b:x} 1",
             f"7 110 -{own} @10(dead) W"]
    text = "".join(l + "\\n" for l in lines).encode()
    for at in range(0, len(text), 7):
        ends[first].sendall(text[at:at + 7])
        time.sleep(0.001)
    said["first"] = counts(first, lambda e: e["faults"] == 2 and e["pages_out"] == 12)
    said["second"] = counts(second, lambda e: e["unmaps"] == 1)
    said["session"] = json.loads(ctl("session", "show", str(session)))["session"]["events"]
    said["text"] = [subprocess.run([build + "/svmd-ctl", "--runtime-dir", run + "/run", *w], stdout=subprocess.PIPE, text=True).stdout
                    for w in (("node", "show", first), ("session", "show", str(session)))]
    metrics = subprocess.run([build + "/svmd-exporter", "--socket", run + "/run/admin.sock", "--once"], stdout=subprocess.PIPE, text=True).stdout
    said["metrics"] = [l for l in metrics.splitlines() if l.startswith("svmd_kfd_") and f'"{second}"' in l]
    # A flood on one stream: others are heard meanwhile, and svmd answers.
    flood = threading.Thread(target=lambda: [ends[first].sendall(f"7 1 -{foreign} @10({a:x}) W\\n".encode() * 100) for _ in range(1000)])
    flood.start()
    ends[second].sendall(f"9 107 -{own} {b:x} 3\\n".encode())
    said["beside"] = counts(second, lambda e: e["evictions"] == 2)
    flood.join()
    said["flood"] = counts(first, lambda e: e["faults"] == 100002)
    # A stream that ends, and is had again.
    ends[second].close()
    said["ended"] = say("1 GPU alone")
    helper = smi(given)
    ctl("reload")
    ends = {**streams(), first: ends[first]}
    said["again"] = say("on 2 GPUs")
    ends[second].sendall(f"9 107 -{own} {b:x} 3\\n".encode())
    said["goes on"] = counts(second, lambda e: e["evictions"] == 3)
    # svmd is killed: the next one asks by itself, and counts anew.
    svmd.kill()
    svmd.wait(30)
    svmd = start()
    await_probe()
    ends = streams()
    ends[second].sendall(f"9 107 -{own} {b:x} 3\\n".encode())
    said["anew"] = counts(second, lambda e: e["evictions"] == 1)
    helper.kill()
    helper.wait(30)
    client.kill()
    client.wait(30)
    return said
"""


def row(**counted):
    names = ("pages_in", "pages_out", "faults", "evictions", "restores", "unmaps")
    return {name: counted.get(name, 0) for name in names}


def main():
    build = sys.argv[1]
    print("libhsakmt is Debian's; fstat() and stat() of device files are answered by a preload (libsvmd-emul-fstat.so)")
    print("the driver's call that gives a stream of events is a stand-in (svmd-smi-standin)")
    probe.need_emulator()
    with probe.generated(2, 1) as machine:
        said = nodes.show(build, machine, LOOK)
    want = {
        "first": row(pages_in=0x20, pages_out=0x8 + 0x4, faults=2),
        "second": row(pages_in=0x8, evictions=1, restores=1, unmaps=1),
        "session": row(pages_in=0x28, pages_out=0x8, faults=2, evictions=1, restores=1, unmaps=1),
    }
    want["beside"] = {**want["second"], "evictions": 2}
    want["flood"] = {**want["first"], "faults": 100002}
    want["goes on"] = {**want["second"], "evictions": 3}
    want["anew"] = row(evictions=1)
    wrong = [f"{key}: {said[key]}, not {value}" for key, value in want.items() if said[key] != value]
    wrong += [] if set(said["masks"]) == {1 << 63 | 0x7F0} else [f"asked for {said['masks']}"]
    for key, level in (("absent", "note"), ("there", "good"), ("ended", "warning"), ("again", "good")):
        wrong += [] if len(said[key]) == 1 and said[key][0][0] == level else [f"doctor, {key}: {said[key]}"]
    wrong += [f"shown: {text}" for text in said["text"] if "faults" not in text or "queues stopped" not in text]
    kfd = sorted(line.split("{")[0] + " " + line.split()[-1] for line in said["metrics"])
    wrong += [] if kfd == [f"svmd_kfd_{n}_total {v}" for n, v in (("faults", 0), ("pages_in", 8), ("pages_out", 0),
                           ("queue_evictions", 1), ("queue_restores", 1), ("unmaps", 1))] else [f"metrics: {said['metrics']}"]
    print("what AMD's driver tells: " + ("counted, cut, flooded, ended and had again" if not wrong else "; ".join(wrong)), flush=True)
    sys.exit(0 if not wrong else 1)


if __name__ == "__main__":
    main()
