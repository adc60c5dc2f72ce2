#!/usr/bin/env python3
"""Debian's Prometheus scrapes svmd-exporter beside a svmd at work: test_prometheus.py BUILD

The scrapes succeed; each query of each panel of the dashboard returns data, none of it NaN alone; the alert rules are
loaded and none of them fails; every metric that a rule or a panel names is one of docs/metrics.md.
"""
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_exporter import documented  # noqa: E402
from world import SOURCE, TestError, World, expect, listener, wait_for  # noqa: E402

WATCH = os.path.join(SOURCE, "libclient/exporter/watch")
RULES, DASHBOARD = os.path.join(WATCH, "svmd.rules.yml"), os.path.join(WATCH, "svmd-dashboard.json")
LEAST_SCRAPES = 6
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: svmd
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    def __init__(self, world, port):
        self.address = f"127.0.0.1:{free_port()}"
        with open(world.path("prometheus.yml"), "w", encoding="ascii") as file:
            file.write(CONFIG.format(rules=RULES, port=port))
        self.log = open(world.path("prometheus.log"), "wb")  # pylint: disable=consider-using-with
        self.process = world.spawn("prometheus", "--config.file", world.path("prometheus.yml"), "--storage.tsdb.path",
                                   world.path("tsdb"), "--web.listen-address", self.address, stdout=self.log,
                                   stderr=self.log)
        wait_for("Prometheus is ready", lambda: self.get("/-/ready") is not None)

    def get(self, path, **arguments):
        """The text of an answer, or None."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}?{urllib.parse.urlencode(arguments)}", timeout=30) as a:
                return a.read()
        except urllib.error.HTTPError as error:
            return error.read() if error.code == 400 else None
        except OSError:
            return None

    def data(self, path, **arguments):
        answer = json.loads(self.get("/api/v1/" + path, **arguments))
        expect(f"{path} {arguments}: {answer.get('error')}", answer["status"] == "success")
        return answer["data"]

    def query(self, expression):
        return self.data("query", query=expression)["result"]


def queries():
    """(panel, query) of the dashboard, with its variables as Grafana would fill them in."""
    with open(DASHBOARD, encoding="utf-8") as file:
        dashboard = json.load(file)
    ids = [panel["id"] for panel in dashboard["panels"]]
    expect("two panels have one number", len(ids) == len(set(ids)))
    variables = {"instance": ".*", "__rate_interval": "2s"}
    for panel in dashboard["panels"]:
        expect(f"{panel['title']} asks for nothing", panel["targets"])
        for target in panel["targets"]:
            text = re.sub(r"\$(\w+)", lambda m: variables[m[1]], target["expr"])
            yield panel["title"], text
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.match(r"label_values\((\w+),", variable["query"])[1]


def test_scraped(prometheus):
    wait_for("it was scraped", lambda: [r for r in prometheus.query(f"count_over_time(svmd_up[1m]) >= {LEAST_SCRAPES}")])
    target = prometheus.data("targets")["activeTargets"][0]
    expect(f"the last scrape failed: {target['lastError']}", target["health"] == "up")
    expect("some scrape failed", not prometheus.query("min_over_time(up[1m]) == 0"))


def test_panels(prometheus):
    count = 0
    for title, query in queries():
        rows = prometheus.query(query)
        expect(f"panel \"{title}\" has no data: {query}", rows)
        expect(f"panel \"{title}\" has nothing but NaN: {query}",
               any(not math.isnan(float(row["value"][1])) for row in rows))
        count += 1
    expect("the dashboard has few queries", count > 20)
    print(f"{count} queries have data")


def test_rules(prometheus):
    with open(RULES, encoding="utf-8") as file:
        names = re.findall(r"- alert: (\w+)", file.read())

    def evaluated():
        rules = [rule for group in prometheus.data("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None
    rules = wait_for("rules are evaluated", evaluated)
    expect("not all rules are there", names and [rule["name"] for rule in rules] == names)
    for rule in rules:
        expect(f"{rule['name']}: {rule.get('lastError')}", rule["health"] == "ok")


def test_names():
    """Only of metrics that there are: a query of another one would never find anything, and an alert never fire."""
    known = set()
    for name, (kind, _) in documented().items():
        known |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    for path in (RULES, DASHBOARD):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if not re.search(r'expr|"query"', line):
                    continue
                for name in re.findall(r"\bsvmd_\w+", line):
                    expect(f"{os.path.basename(path)} names {name}, which does not exist", name in known)


def main():
    test_names()
    subprocess.run(["promtool", "check", "rules", RULES], check=True, stdout=subprocess.DEVNULL)
    world = World(sys.argv[1])
    try:
        with listener() as s:
            world.serve(s, "--idle", "0")
            prometheus = Prometheus(world, s.getsockname()[1])
            try:
                for test in (test_scraped, test_panels, test_rules):
                    test(prometheus)
                    print(f"ok: {test.__name__}", flush=True)
            except TestError:
                with open(world.path("prometheus.log"), "rb") as file:
                    sys.stderr.buffer.write(file.read()[-3000:])
                raise
            finally:
                prometheus.process.send_signal(signal.SIGTERM)
                prometheus.process.wait()
                prometheus.log.close()
    finally:
        world.end()


if __name__ == "__main__":
    main()
