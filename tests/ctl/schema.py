#!/usr/bin/env python3
"""schema.py BUILD SOURCE TEST...: what svmd-ctl writes with --json is what docs/schema/svmd-ctl.json says.

The verbs are those that svmd-ctl itself offers: one that the schema does not name is an error, and so is one of which no
test (programs in BUILD, which leave what they had written in $SVMD_CTL_JSON) showed an output. Then a real svmd is asked.
"""

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile

import jsonschema

LIMIT_S = 60


def offered(build, *words):
    out = subprocess.run([f"{build}/svmd-ctl", "complete", *words], capture_output=True, text=True, timeout=LIMIT_S,
                         check=True).stdout
    return [word for word in out.split() if not word.startswith("-")]


def verbs_of(build):
    """Words behind the first are the verb's only where the first alone is no verb, which then knows no --help page."""
    verbs = []
    for first in offered(build, ""):
        page = subprocess.run([f"{build}/svmd-ctl", first, "--help"], capture_output=True, text=True, timeout=LIMIT_S,
                              check=True).stdout
        family = page.startswith(f"Usage: svmd-ctl [OPTION]... {first} VERB")
        verbs += [f"{first} {second}" for second in offered(build, first, "")] if family else [first]
    return verbs


def verb_of(line, verbs):
    words = [word for word in line.split() if not word.startswith("--")]
    for length in (2, 1):
        if " ".join(words[:length]) in verbs:
            return " ".join(words[:length])
    return None


def documents(verb, text):
    """A stream of values has one a line."""
    return [json.loads(line) for line in text.splitlines()] if verb in ("monitor", "top") else [json.loads(text)]


class Checker:
    def __init__(self, schema, verbs):
        self.validator, self.verbs, self.seen, self.errors = jsonschema.Draft202012Validator(schema), verbs, set(), []

    def check(self, line, text):
        verb = verb_of(line, self.verbs)
        if verb is None or not text.strip():
            return
        self.seen.add(verb)
        for value in documents(verb, text):
            for error in self.validator.iter_errors({verb: value}):
                deepest = jsonschema.exceptions.best_match([error])
                self.errors.append(f"'{line}': at {deepest.json_path}: {deepest.message}")


def self_test(schema, checker):
    """The check can fail: a key too many, one too few, one of another type, a verb without schema."""
    probe = Checker(schema, checker.verbs + ["no verb"])
    good = {"waited_ms": 3}
    probe.check("wait ready", json.dumps(good))
    assert not probe.errors, probe.errors
    for bad in ({}, {"waited_ms": "3"}, {"waited_ms": 3, "more": 1}):
        probe.check("wait ready", json.dumps(bad))
    probe.check("no verb", "{}")
    assert len(probe.errors) == 4, probe.errors
    jsonschema.Draft202012Validator.check_schema(schema)


def from_tests(build, tests, checker):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/json"
        for test in tests:
            subprocess.run([f"{build}/{test}"], env={**os.environ, "SVMD_CTL_JSON": path}, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, cwd=folder, timeout=LIMIT_S, check=True)
        with open(path, encoding="utf-8") as file:
            for record in file.read().split("\x1e\n")[:-1]:
                line, _, text = record.partition("\n")
                checker.check(line[2:], text)


LINES = """status|doctor|node list|node show gpu0|partition create train --limit gpu0=1M --dry-run|partition create train
partition list|partition show train|partition set train --max gpu0=2M|session list|reservation list|share list|kept list|lease list|grant list
usage|usage --by node|usage --by pid|usage --since 1h|usage --drift|map|top --once --interval 0.1|node drain gpu0|node online gpu0
partition delete train --dry-run|upgrade --dry-run|wait ready|partition delete train"""


def from_svmd(build, checker):
    with tempfile.TemporaryDirectory() as folder:
        open(f"{folder}/conf", "w", encoding="utf-8").close()
        with open(f"{folder}/log", "w", encoding="utf-8") as log:
            svmd = subprocess.Popen([f"{build}/svmd", "--config", f"{folder}/conf", "--runtime-dir", folder,
                                     "--state-dir", f"{folder}/state", "--host-capacity", "64M", "--soft-node",
                                     "gpu0:size=16M"], stderr=log)
        try:
            base = [f"{build}/svmd-ctl", "--runtime-dir", folder]
            subprocess.run(base + ["wait", "ready", "--timeout", "30"], timeout=LIMIT_S, check=True)
            for line in LINES.replace("\n", "|").split("|"):
                done = subprocess.run(base + line.split() + ["--json"], capture_output=True, text=True,
                                      timeout=LIMIT_S, check=False)
                if not done.stdout:
                    checker.errors.append(f"'{line}' wrote nothing: {done.stderr}")
                else:
                    checker.check(line, done.stdout)
        finally:
            svmd.send_signal(signal.SIGINT)
            svmd.wait(LIMIT_S)


def main():
    build, source, tests = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    with open(f"{source}/docs/schema/svmd-ctl.json", encoding="utf-8") as file:
        schema = json.load(file)
    verbs = verbs_of(build)
    checker = Checker(schema, verbs)
    self_test(copy.deepcopy(schema), checker)
    checker.errors += [f"'{verb}' has no schema" for verb in verbs if verb not in schema["properties"]]
    checker.errors += [f"there is no verb '{verb}'" for verb in schema["properties"] if verb not in verbs]
    from_tests(build, tests, checker)
    from_svmd(build, checker)
    checker.errors += [f"no test shows what '{verb} --json' writes" for verb in verbs if verb not in checker.seen]
    for error in checker.errors:
        print(error, file=sys.stderr)
    print(f"{len(verbs)} verbs, {len(checker.errors)} errors")
    return 1 if checker.errors else 0


if __name__ == "__main__":
    sys.exit(main())
