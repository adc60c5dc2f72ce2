#!/usr/bin/env python3
"""The demo on a small tree: it passes, and it fails when something is not as it should be."""
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from run import PLAN, PROGRAMS, SOURCE
from test_index import make_tree

BUILD = os.path.abspath(sys.argv.pop(1))
RUN = os.path.join(SOURCE, "tests/demo/run.py")
ROOT = os.geteuid() == 0


def make_text(folder):
    """Hard files, and 40 files of which the first words are frequent and the last rare."""
    chance = random.Random(1)
    os.mkdir(folder)
    make_tree(folder)
    for number in range(40):
        words = [f"word{int(3000 * chance.random() ** 3)}" for _ in range(1000)]
        with open(os.path.join(folder, f"text{number}"), "w", encoding="ascii") as file:
            file.write("".join(word + chance.choice(" \n,;(") for word in words))


class DemoTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="svmd-test-demo-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = os.path.join(self.folder, "text")
        make_text(self.text)
        self.json = os.path.join(self.folder, "table.json")

    def command(self, build=BUILD, text=None):
        return [sys.executable, RUN, "--build", build, "--seed", "4711", "--json", self.json, text or self.text]

    def demo(self, **more):
        """(exit status, output, table)"""
        # The demo makes its folder here, so that the test sees whether it takes it away.
        done = subprocess.run(self.command(**more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": self.folder}, encoding="utf-8",
                              timeout=250, check=False)
        with open(self.json, encoding="utf-8") as file:
            table = json.load(file)
        self.assert_nothing_stays()
        return done.returncode, done.stdout, table

    def assert_nothing_stays(self):
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("svmd-demo-")], [])
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    self.assertNotIn(os.path.join(self.folder, "svmd-demo-").encode(), file.read())
            except (FileNotFoundError, ProcessLookupError):
                continue

    def build_with(self, program, script):
        """A build folder where one program is a script that gets the true one as $TRUE."""
        build = os.path.join(self.folder, "build")
        os.mkdir(build)
        for name in PROGRAMS:
            if name != program:
                os.symlink(os.path.join(BUILD, name), os.path.join(build, name))
        with open(os.path.join(build, program), "w", encoding="ascii") as file:
            file.write(f"#!/bin/bash\nTRUE={shlex.quote(os.path.join(BUILD, program))}\n{script}\n")
        os.chmod(os.path.join(build, program), 0o755)
        return build

    def wrong_rows(self, table):
        return [row["row"] for row in table["rows"] if not row["ok"]]


@unittest.skipUnless(ROOT, "needs root")
class AsRootTest(DemoTest):
    def test_passes(self):
        status, output, table = self.demo()
        self.assertEqual(status, 0, output)
        self.assertEqual(self.wrong_rows(table), [])
        self.assertEqual(len(table["rows"]), len(PLAN))
        self.assertIn("shows memory", output)

    def test_a_wrong_answer_fails(self):
        # Of each reader, the first answer that is not zero gets a digit more.
        status, output, table = self.demo(build=self.build_with(
            "svmd-demo-reader", 'exec "$TRUE" "$@" > >(exec sed -u "0,/ lines=[1-9]/s/ lines=[1-9]/&1/")'))
        self.assertEqual(status, 1, output)
        self.assertEqual(self.wrong_rows(table), ["answers-a", "answers-b"])
        self.assertEqual([row["got"].split(",")[0] for row in table["rows"] if not row["ok"]], ["499 of 500"] * 2)
        self.assertEqual(output.count("the reader says"), 2)

    def test_a_device_that_is_wrong_fails(self):
        status, output, table = self.demo(build=self.build_with(
            "svmd-demo-builder", 'exec "$TRUE" "$@" > >(exec sed -u "/^device name=gpu3/s/sum=/sum=1/")'))
        self.assertEqual(status, 1, output)
        self.assertEqual(self.wrong_rows(table), ["device-sums"])

    def test_a_program_that_ends_early_fails(self):
        status, output, table = self.demo(build=self.build_with("svmd-demo-builder", "exit 3"))
        self.assertEqual(status, 1, output)
        self.assertIn("ended", output)
        self.assertIn("answers-a", self.wrong_rows(table))

    def test_an_interrupt_leaves_nothing(self):
        process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   env={**os.environ, "TMPDIR": self.folder}, encoding="utf-8")
        deadline = time.monotonic() + 30
        while "limit" not in process.stdout.readline() and time.monotonic() < deadline:
            pass
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, output)
        self.assertIn("interrupted", output)
        self.assert_nothing_stays()

    def test_a_folder_without_text_fails(self):
        for name, text in (("empty", None), ("blank", " \n"), ("one", "one\n")):
            folder = os.path.join(self.folder, name)
            os.mkdir(folder)
            if text:
                with open(os.path.join(folder, "file"), "w", encoding="ascii") as file:
                    file.write(text)
            status, output, _ = self.demo(text=folder)
            self.assertEqual(status, 1, output)
            self.assertIn("name a folder", output)

    def test_a_folder_that_is_not_there_fails(self):
        status, output, _ = self.demo(text=os.path.join(self.folder, "nowhere"))
        self.assertEqual(status, 1, output)
        self.assertIn("is no folder", output)


class AsAnyoneTest(DemoTest):
    def test_users_cannot_be_told_apart(self):
        become = {} if not ROOT else {"user": 61001, "group": 61001, "extra_groups": []}
        # The user may not be able to go where the sources and the interpreter of this test lie.
        sources = os.path.join(self.folder, "sources")
        os.mkdir(sources)
        for name in ("run.py", "board.py", "machine.py", "oracle.py"):
            shutil.copy(os.path.join(os.path.dirname(RUN), name), sources)
        done = subprocess.run([shutil.which("python3", path="/usr/bin:/bin") or sys.executable, "-B",
                               os.path.join(sources, "run.py"), self.text], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder, encoding="utf-8",
                              check=False, timeout=60, **become)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("Run it as root", done.stdout)


if __name__ == "__main__":
    if not ROOT and os.environ.get("SVMD_TEST_NOT_ROOT") != "1":
        sys.exit("the demo cannot be tested without root; run this as root, or say with SVMD_TEST_NOT_ROOT=1 that "
                 "this is known")
    unittest.main()
