#!/usr/bin/env python3
"""svmd-exporter beside a real svmd: test_exporter.py BUILD

Both formats, by promtool and by the parsers of python3-prometheus-client; every family is in docs/metrics.md with its
type and labels, and every one there is in the page of a svmd that works; counters never fall; what is held adds up;
negotiation, refusals, who may ask, an exporter that is idle, an svmd that is gone or hangs.
"""
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families as parse_text  # noqa: E402
from world import (CONTAINER, OPEN_METRICS, SOURCE, TEXT, TestError, World, ask, expect, listener,  # noqa: E402
                   wait_for)


def sums(families, sample, **labels):
    """The sum over samples of that name, and those labels."""
    return sum(s.value for f in families for s in f.samples
               if s.name == sample and all(s.labels.get(k) == v for k, v in labels.items()))


def documented():
    """{family: (type, labels)} of docs/metrics.md."""
    found = {}
    with open(os.path.join(SOURCE, "docs/metrics.md"), encoding="utf-8") as file:
        for line in file:
            row = re.match(r"\| `(svmd_\w+)` \| (\w+) \|([^|]*)\|", line)
            if row:
                expect(f"{row[1]} is in docs/metrics.md twice", row[1] not in found)
                found[row[1]] = (row[2], tuple(re.findall(r"`(\w+)`", row[3])))
    return found


def said(families):
    """The same of a page of OpenMetrics."""
    found = {}
    for family in families:
        ends = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {tuple(k for k in s.labels if k != "le") for s in family.samples}
        expect(f"{family.name} has samples with different labels: {labels}", len(labels) == 1)
        found[family.name + ends] = (family.type, labels.pop())
    return found


def test_documented(world):
    page, text = said(parse_open_metrics(world.once("--format", "openmetrics")[1])), documented()
    # Those of AMD's GPUs need one: emul_events.
    for name in sorted(set(page) | {n for n in text if not n.startswith("svmd_kfd_")}):
        expect(f"{name}: svmd-exporter says {page.get(name)}, docs/metrics.md {text.get(name)}",
               page.get(name) == text.get(name))


def test_formats(world):
    text = world.once()[1]
    check = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    expect(f"promtool says {check.stdout.decode()}{check.stderr.decode()}",
           check.returncode == 0 and not check.stdout + check.stderr)
    plain, opened = list(parse_text(text)), list(parse_open_metrics(world.once("--format", "openmetrics")[1]))
    expect("the formats have different families", 
           {f.name.removesuffix("_info") for f in plain} == {f.name for f in opened})
    created = {s.value for f in opened for s in f.samples if s.name.endswith("_created")}
    start = sums(opened, "svmd_start_time_seconds")
    expect(f"counters were created at {created}, and svmd began at {start}",
           len(created) == 1 and abs(created.pop() - start) < 0.01 and abs(start - time.time()) < 600)


def test_work(world):
    """What the client does is seen, and what is held adds up."""
    def look():
        return list(parse_open_metrics(world.once("--format", "openmetrics")[1]))
    grow = (("svmd_fault_duration_seconds_count", {"by": "cpu"}),
            ("svmd_fault_duration_seconds_count", {"by": "device"}),
            ("svmd_migration_duration_seconds_count", {"cause": "request"}),
            ("svmd_migration_duration_seconds_count", {"cause": "eviction"}),
            ("svmd_operations_total", {"operation": "mem_create", "result": "refused"}),
            ("svmd_partition_refusals_total", {}), ("svmd_moved_bytes_total", {}), ("svmd_node_evictions_total", {}))
    before = wait_for("all has been done", lambda: (page := look()) and
                      all(sums(page, name, **labels) > 0 for name, labels in grow) and page)
    after = None
    for name, labels in grow:
        after = wait_for(f"{name} {labels} grows", lambda: (page := look()) and
                         sums(page, name, **labels) > sums(before, name, **labels) and page)
    counters = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in before for s in f.samples
                if f.type in ("counter", "histogram")}
    for family in after:
        for s in family.samples:
            key = (s.name, tuple(sorted(s.labels.items())))
            expect(f"{key} fell", s.value >= counters.get(key, 0))
    os.kill(world.load.pid, signal.SIGSTOP)
    try:
        wait_for("nothing moves", lambda: adds_up(world))
    finally:
        os.kill(world.load.pid, signal.SIGCONT)


def adds_up(world):
    page = list(parse_open_metrics(world.once("--format", "openmetrics")[1]))
    charged = sums(page, "svmd_node_charged_bytes")
    container = sums(page, "svmd_container_used_bytes", runtime="docker", container=CONTAINER, name="web", pod_name="web-0",
                     namespace="shop")
    return charged > 0 and all(sums(page, name) == charged for name in
                               ("svmd_partition_used_bytes", "svmd_cgroup_used_bytes")) and container == charged


def test_cap(world):
    """Those that have no time series of their own are one."""
    page = list(parse_text(world.once("--cgroups", "0", "--containers", "0", "--partitions", "0")[1]))
    keys = {s.labels["cgroup"] for f in page for s in f.samples if s.name == "svmd_cgroup_used_bytes"}
    expect(f"control groups are {keys}", keys == {"other"})
    expect("their sum is 0", sums(page, "svmd_container_used_bytes", container="other") > 0)
    expect("partitions' sum is 0", sums(page, "svmd_partition_used_bytes", partition="other") > 0)
    expect("a folded partition has counters", sums(page, "svmd_partition_faults_total") == 0)
    for of in ("containers", "cgroups", "partitions"):
        expect(f"{of} are not said to be folded", sums(page, "svmd_exporter_folded", of=of) >= 1)


def test_http(world):
    with listener() as s:
        exporter, port = world.serve(s, "--idle", "0"), s.getsockname()[1]
        for wish, kind in ((None, TEXT), ("*/*", TEXT), (OPEN_METRICS, OPEN_METRICS), ("text/plain;version=0.0.4", TEXT),
                           ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPEN_METRICS)):
            status, got, text = ask(port, **({"Accept": wish} if wish else {}))
            expect(f"to {wish} came {status} {got}", status == 200 and got == kind)
            expect("svmd is not up", sums(list((parse_open_metrics if kind == OPEN_METRICS else parse_text)(text)),
                                          "svmd_up") == 1)
        expect("HEAD has a body", ask(port, "HEAD")[0::2] == (200, ""))
        expect("there is more than /metrics", ask(port, path="/")[0] == 404)
        expect("POST is taken", ask(port, "POST")[0] == 405)
        expect("DELETE is taken", ask(port, "DELETE")[0] == 405)
        test_silent(port)
        exporter.terminate()
        exporter.wait()


def test_silent(port):
    """Who connects and says nothing, or begins and does not end, holds nobody up; neither do long heads."""
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for s in silent[10:]:
        s.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 200000)
        expect("a head of 200 kB is taken", b" 200 " not in s.recv(100))
    expect("others are held up", ask(port)[0] == 200)
    for s in silent:
        s.close()


def test_idle(world):
    """It ends by itself, and the next one goes on with the same socket."""
    with listener() as s:
        for _ in range(2):
            exporter = world.serve(s, "--idle", "1")
            expect("no answer", ask(s.getsockname()[1])[0] == 200)
            expect(f"it ended with {exporter.wait(30)}", exporter.returncode == 0)


def test_stranger(world):
    """An exporter that is not of the group learns nothing."""
    with listener() as s:
        exporter = world.serve(s, "--idle", "0", member=False)
        status, _, text = ask(s.getsockname()[1])
        page = list(parse_text(text))
        expect("a stranger was answered", status == 200 and sums(page, "svmd_up") == 0 and
               {f.name for f in page} == {"svmd_up", "svmd_exporter_scrape_duration_seconds"})
        exporter.terminate()
        exporter.wait()


def test_hostile_name(world):
    """A control group whose name is no text leaves the page whole."""
    client = world.spawn(os.path.join(world.build, "exporter-load"), env=dict(os.environ, SVMD_SOCKET=world.socket),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    world.contain(client.pid, b'/a"b\\c\xff\xfe\x01{}=,')
    client.stdin.write(b"go\n")
    client.stdin.flush()
    client.stdout.readline()

    def seen():
        page = list(parse_open_metrics(world.once("--format", "openmetrics")[1]))
        check = subprocess.run(["promtool", "check", "metrics"], input=world.once()[1].encode(), check=False)
        expect("promtool does not take it", check.returncode == 0)
        return [s for f in page for s in f.samples if s.labels.get("cgroup", "").startswith('/a"b\\c')]
    wait_for("the group is seen", seen)
    client.stdin.close()
    client.wait()


def test_svmd_gone(world):
    """svmd hangs: the exporter ends, and whoever asked hears nothing. It is gone: it is not up."""
    with listener() as s:
        exporter, port = world.serve(s, "--timeout", "1"), s.getsockname()[1]
        expect("no answer", ask(port)[0] == 200)
        time.sleep(1.1)  # what was learnt serves for a second
        world.svmd.send_signal(signal.SIGSTOP)
        try:
            ask(port)
            raise TestError("an svmd that hangs was asked")
        except OSError:
            pass
        except Exception as failure:  # http.client's own kinds
            expect(f"{failure}", "http.client" in type(failure).__module__)
        exporter.wait(30)
        world.svmd.send_signal(signal.SIGCONT)
    world.load.stdin.close()
    world.load.wait()
    world.svmd.send_signal(signal.SIGINT)
    world.svmd.wait()
    status, text, why = world.once(check=False)
    expect("an svmd that is gone is up", status == 1 and why and sums(list(parse_text(text)), "svmd_up") == 0)


def main():
    world = World(sys.argv[1])
    try:
        for test in (test_formats, test_documented, test_work, test_cap, test_http, test_idle, test_stranger,
                     test_hostile_name, test_svmd_gone):
            test(world)
            print(f"ok: {test.__name__}", flush=True)
    finally:
        world.end()


if __name__ == "__main__":
    main()
