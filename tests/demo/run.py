#!/usr/bin/env python3
"""The main job of svmd on real input: several users and eight devices follow the same pointers.

svmd runs as a machine of eight GPUs. A builder reads the text under DIR into an index made of pointers, in a managed
range; then no node, host memory included, may have more than a quarter of it, so its pages live everywhere and move
when they are touched. Readers of other users, and the devices, follow those pointers, and each device does so in a copy
of its own at the same address too; grep says what the answers must be. Ends with 0 only if everything was compared and
right.
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from board import Board  # noqa: E402
from machine import PATIENCE, PATIENCE_WORK, DemoError, Svmd, make_machine  # noqa: E402
from oracle import Grep, available_memory, choose_words, file_bytes, text_size  # noqa: E402

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GIB = 1 << 30
GPUS = 8
WORDS = 1000
WIRE_WORDS = 50
GROUP = 61000  # of the builder and the readers; the partition is open to all, the index to its group
BUILDER, READER_A, READER_B, STRANGER = 61001, 61002, 61003, 61004
PARTITION, INDEX, NEXT = "demo", "index", "index-next"
HOST, SOFT = 1, 2  # kinds of nodes
GRANULE = 64 << 10  # of the index

PLAN = [
    ("machine", "machine that svmd shows"),
    ("limit-host", "more host memory than the limit"),
    ("limit-device", "more device memory than the limit"),
    ("limit-free", "refused requests took nothing"),
    ("files", "files read into the index"),
    ("spread-sums", "devices' sums of the parts that went to them"),
    ("squeezed", "index, when each node may have a quarter of it"),
    ("walked", "the sum of all of it, touched by the CPU"),
    ("moved", "pages that never left host memory, or never came back"),
    ("moved-bytes", "moved out: the index, and again what host limits have no room for"),
    ("places", "index pages: where svmd says they are, and its books"),
    ("copies", "copies on devices, at the index's address"),
    ("device-sums", "devices' sums of their copies"),
    ("device-chases", "devices' walks through all words"),
    ("device-own", "each device wrote into its own copy alone"),
    ("link", "a device's sum and walk over the index itself"),
    ("unmapped", "device access where its space shows nothing"),
    ("books-host", "host memory: ledger and st_blocks"),
    ("books-device", "device memory: ledger and st_blocks"),
    ("address", "readers see the index at the builder's address"),
    ("walk", "readers' walks through all words"),
    ("read-only", "a reader asks for write access, or writes what is its own then"),
    ("stranger", "a user with no right opens the index"),
    ("answers-a", "words right, of the first reader (lines and files)"),
    ("answers-b", "words right, of the second reader (lines and files)"),
    ("answers-wire", "words right, of a client written from docs/protocol.md"),
    ("absent", "words that the text does not have"),
    ("killed", "memory of a writer killed in its build"),
    ("killed-name", "its reservation and session"),
    ("kept", "what the others hold, after that"),
    ("charges", "bytes charged, when all are gone"),
    ("blocks", "bytes in svmd's files but for warm slots, when all are gone"),
    ("objects", "reservations, spaces and sessions, when all are gone"),
    ("stop", "svmd and its keeper end"),
]


def human(size):
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def describe_files(count, unreadable):
    return f"{count} files" + (", others could not be read" if unreadable else "")


class State:
    """What svmd has on its books."""

    def __init__(self, svmd):
        lines = svmd.admin(PARTITION, "state")
        self.status = next(fields for kind, fields in lines if kind == "status")
        self.nodes = [fields for kind, fields in lines if kind == "node"]
        self.reservations = {fields["name"]: fields for kind, fields in lines if kind == "reservation"}
        self.sessions = [fields for kind, fields in lines if kind == "session"]
        self.used = {node["name"]: node["used"] for node in self.nodes}

    def of_kind(self, kind):
        return sum(node["used"] for node in self.nodes if node["kind"] == kind)

    def warm(self):
        """Bytes that freed slots keep for the next granules."""
        return sum(node["warm"] for node in self.nodes)

    def in_pools(self):
        return self.of_kind(SOFT) + self.warm()


class Outside:
    """The same, as the kernel sees it."""

    def __init__(self, svmd):
        sizes = file_bytes(svmd.process.pid)
        self.device = sum(size for name, size in sizes.items() if "pool" in name or "slots" in name)
        self.host = sum(size for name, size in sizes.items() if name.startswith(("svmd-arena", "svmd-memory",
                                                                                 "svmd-range")))


def wait_for(look, good):
    """Looks until it is good, or for PATIENCE seconds; the last look."""
    end = time.monotonic() + PATIENCE
    while not good(seen := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return seen


class Demo:
    def __init__(self, board, build, directory, seed, folder):
        self.board, self.build, self.directory, self.seed, self.folder = board, build, directory, seed, folder
        self.programs, self.svmd, self.grep, self.map = [], None, None, ""

    # ---- processes ----

    def start(self, program, uid, gid, *arguments, name=INDEX, title=None):
        started = self.svmd.program(program, "--socket", self.svmd.socket(), "--partition", PARTITION, "--name", name,
                                    "--uid", uid, "--gid", gid, *arguments, name=title)
        self.programs.append(started)
        return started

    def start_builder(self, *arguments, **more):
        return self.start("builder", BUILDER, GROUP, "--dir", self.directory, "--reserve", self.reserve, *arguments,
                          **more)

    def clean_up(self):
        for program in self.programs:
            program.kill()
        if self.grep:
            self.grep.stop()
        if self.svmd:
            self.svmd.destroy()

    # ---- the story ----

    def run(self):
        self.start_machine()
        self.builder = self.start_builder("--too-much", self.limit + GIB)
        self.hit_limits()
        self.build_index()
        self.choose()
        self.spread()
        self.squeeze()
        self.walk()
        self.ask_readers()
        self.compare_places()
        self.copy_to_devices()
        self.ask_devices()
        self.compare_books()
        self.ask_wire()
        self.refuse_stranger()
        self.kill_writer()
        self.compare_words()
        self.draw_map()
        self.let_go()
        self.stop()

    def start_machine(self):
        text = text_size(self.directory)
        self.limit = max(1, text * 2 // GIB + 1) * GIB
        self.reserve = self.limit
        machine = os.path.join(self.folder, "machine")
        make_machine(SOURCE, machine, GPUS, f"{self.limit * 2 // GIB}G")
        self.svmd = Svmd(self.build, self.folder, machine)
        self.svmd.wait_ready()
        limits = [f"{name}={self.limit}" for name in ("host0", "host1", "gpu0")]
        self.svmd.admin(PARTITION, "create", *limits)
        nodes = State(self.svmd).nodes
        soft = [node for node in nodes if node["kind"] == SOFT]
        self.board.check("machine", f"{GPUS} devices in 2 hives, 2 host nodes",
                         f"{len(soft)} devices in {len({node['hive'] for node in soft})} hives, "
                         f"{sum(node['kind'] == HOST for node in nodes)} host nodes")
        self.devices = [node["name"] for node in soft]
        self.board.note(f"partition '{PARTITION}': at most {human(self.limit)} on each of host0, host1 and gpu0; "
                        f"{human(text)} under {self.directory}")

    def hit_limits(self):
        self.builder.send("limits")
        for row, what in (("limit-host", "host"), ("limit-device", "device")):
            refused = self._refusal(self.builder)
            self.board.check(row, (what, "LIMIT"), (refused["what"], refused["code"]))
            self.board.note(f"svmd says: {refused['text']}")
        self.builder.expect("done")
        used = sum(State(self.svmd).used.values())
        self.board.check("limit-free", "0 bytes charged", f"{used} bytes charged")

    @staticmethod
    def _refusal(program):
        kind, fields = program.next()
        if kind != "refused":
            raise DemoError(f"{program.name} said '{kind}' where it should tell how an attempt ended")
        return fields

    def build_index(self):
        self.builder.send("build")
        self.built = self.builder.expect("built", lambda at: self.board.progress(
            f"reading: {at['files']} files, {human(at['bytes'])}"))
        self.builder.expect("done")
        b = self.built
        if not b["words"]:
            raise DemoError(f"there is no text under {self.directory} that user {BUILDER} may read; "
                            "name a folder that has, or install libc6-dev for /usr/include")
        self.board.note(f"{b['words']} words and {b['postings']} postings at {b['address']:#x}, {human(b['size'])}"
                        + (f"; {b['unreadable']} files or folders could not be read" if b["unreadable"] else ""))
        need = b["size"] * (GPUS + 1) + GPUS * (32 << 20)
        if need > available_memory():
            raise DemoError(f"copies on {GPUS} devices need {human(need)}, and this machine has "
                            f"{human(available_memory())} free; name a folder with less text")

    def choose(self):
        self.builder.send("words")
        known = {}
        while (line := self.builder.raw()) != "done":
            if line is None:
                raise DemoError("the builder ended while it told its words")
            _, lines, word = line.split(" ")
            known[word] = int(lines)
        if len(known) != self.built["words"]:
            raise DemoError(f"the builder told {len(known)} words of {self.built['words']}")
        self.words, self.absent = choose_words(known, WORDS, self.seed)
        if WORDS - self.absent < 4:
            raise DemoError(f"{self.directory} has too few words for two readers; name a folder with more text")
        self.grep = Grep(self.words, self.directory, (BUILDER, GROUP))
        self.board.note(f"{len(self.words)} words chosen with seed {self.seed}; a grep for each runs from now on")

    def squeeze(self):
        """From now on no node may have more than a quarter of the index; what is above that leaves."""
        quarter = self.built["size"] // 4 // GRANULE * GRANULE
        self.nodes = [node["name"] for node in State(self.svmd).nodes]
        self.host_limits = quarter * sum(node["kind"] == HOST for node in State(self.svmd).nodes)
        self.svmd.admin(PARTITION, "limit", *(f"{name}={quarter}" for name in self.nodes))
        state = wait_for(lambda: State(self.svmd), lambda seen: max(seen.used.values()) <= quarter)
        above = {name: used for name, used in state.used.items() if used > quarter}
        self.board.check("squeezed", f"nothing above {human(quarter)} on any node", "nothing above " + human(quarter) +
                         " on any node" if not above else f"more on {above}")

    def spread(self):
        """A part of the index goes to each device, so all of it leaves host memory."""
        self.board.progress("index moves to the devices")
        self.builder.send("spread")
        parts, b = [], self.built
        while (line := self.builder.next())[0] == "part":
            parts.append(line[1])
        if line[0] != "done":
            raise DemoError(f"the builder said {line} instead of the devices' sums")
        self.board.check("spread-sums", (len(self.devices), b["size"], b["sum"]),
                         (len({part["device"] for part in parts}), sum(part["size"] for part in parts),
                          sum(part["sum"] for part in parts) % (1 << 64)))

    def walk(self):
        """The CPU brings all of it back, but no more than half of it has a place in host memory."""
        self.board.progress("index comes back to the CPU")
        self.builder.send("walk")
        cpu, b = self.builder.expect("cpu"), self.built
        self.builder.expect("done")
        self.board.check("walked", b["sum"], cpu["sum"])
        # A page can be read before its granule has come as a whole, and counts only then; and granules that are still
        # on their way are seen at different moments.
        least = 2 * b["size"] - self.host_limits
        counters = wait_for(self._counters, lambda seen: not seen["never_in"] and seen["out_bytes"] >= least)
        self.board.check("moved", f"0 of {counters['granules']} never out, 0 never in",
                         f"{counters['never_out']} of {counters['granules']} never out, {counters['never_in']} never in")
        self.board.check("moved-bytes", f"at least {human(least)}", f"at least {human(least)}"
                         if counters["out_bytes"] >= least else human(counters["out_bytes"]))
        self.board.note(f"{human(counters['out_bytes'])} moved out and {human(counters['in_bytes'])} in, of an index of "
                        f"{human(b['size'])} with {human(self.host_limits)} of host memory")

    def _counters(self):
        return self._places()[1]

    def _places(self):
        self.builder.send("places")
        places = {}
        while (line := self.builder.next())[0] == "place":
            places[line[1]["node"]] = line[1]["bytes"]
        if line[0] != "counters":
            raise DemoError(f"the builder said {line} instead of counters")
        self.builder.expect("done")
        return places, line[1]

    def compare_places(self):
        """Nothing else is managed now, so what the builder sees is what is on the books; nobody touches it meanwhile."""
        def look():
            places, _ = self._places()
            return places, {node["id"]: node["managed"] for node in State(self.svmd).nodes if node["managed"]}

        places, books = wait_for(look, lambda seen: seen[0] == seen[1])
        self.board.check("places", places, books)

    def copy_to_devices(self):
        """Everyone gets room again: for copies as large as the index, and for the next writer."""
        self.svmd.admin(PARTITION, "limit", *(f"{name}={self.limit}" for name in self.nodes))
        self.board.progress("copying to devices")
        self.builder.send("copy")
        copies = [self.builder.expect("copy") for _ in self.devices]
        self.builder.expect("done")
        b = self.built
        self.board.check("copies", ([(b["address"], b["size"], b["size"])] * GPUS, self.devices),
                         ([(copy["address"], copy["size"], copy["same"]) for copy in copies],
                          [copy["device"] for copy in copies]))

    def ask_devices(self):
        self.board.progress("devices sum and chase")
        self.builder.send("ask")
        answers = [self.builder.expect("device") for _ in self.devices]
        link, refused = self.builder.expect("link"), self._refusal(self.builder)
        cpu = self.builder.expect("cpu")
        self.builder.expect("done")
        b = self.built
        walk = (b["hops"], b["last"])
        self.board.check("device-sums", [b["sum"]] * GPUS, [answer["sum"] for answer in answers])
        self.board.check("device-chases", [(b["words"], b["last"])] * GPUS,
                         [(answer["hops"], answer["last"]) for answer in answers])
        self.board.check("device-own", [1000 + i for i in range(GPUS)] + [b["sum"]],
                         [answer["grew"] for answer in answers] + [cpu["sum"]])
        self.board.check("link", (b["sum"], *walk), (link["sum"], link["hops"], link["last"]))
        self.board.check("unmapped", "NOT_MAPPED", refused["code"])

    def compare_books(self):
        def look():
            return State(self.svmd), Outside(self.svmd)

        def same(seen):
            return (seen[0].of_kind(HOST), seen[0].in_pools()) == (seen[1].host, seen[1].device)

        state, outside = wait_for(look, same)
        self.board.check("books-host", state.of_kind(HOST), outside.host)
        self.board.check("books-device", state.in_pools(), outside.device)

    def ask_readers(self):
        readers = [self.start("reader", READER_A, READER_A, "--group", GROUP, title="the first reader"),
                   self.start("reader", READER_B, GROUP, title="the second reader")]
        tried, opened = [], []
        for reader in readers:
            tried += [self._refusal(reader)["code"], reader.expect("mprotect")["error"]]
            opened.append(reader.expect("opened"))
        b = self.built
        self.board.check("read-only", (["DENIED", "none"] * 2, "the builder reads 0"),
                         (tried, f"the builder reads {self._counters()['scratch']}"))
        self.board.check("address", [b["address"]] * 2, [at["address"] for at in opened])
        self.board.check("walk", [(b["words"], b["last"])] * 2, [(at["hops"], at["last"]) for at in opened])
        self.answers = [{}, {}]
        for i, word in enumerate(self.words):
            readers[i % 2].send(word)
            answer = readers[i % 2].expect("answer")
            self.answers[i % 2][answer["word"]] = (answer["lines"], answer["files"])
            if i % 100 == 99:
                self.board.progress(f"readers: {i + 1} words answered")
        self.readers = readers

    def ask_wire(self):
        """The same index through a client in Python that knows the protocol's page and no library."""
        words = self.words[:WIRE_WORDS]
        client = [sys.executable, os.path.join(SOURCE, "tests/system/protocol_client.py"), "--socket",
                  self.svmd.socket(), "--partition", PARTITION, "--uid", str(READER_A), "--gid", str(GROUP),
                  "query", INDEX, *words]
        done = subprocess.run(client, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE_WORK, check=False)
        if done.returncode:
            raise DemoError(f"the client in Python failed: {done.stderr.strip()[-2000:]}")
        rows = [line.split(" ") for line in done.stdout.splitlines()]
        self.wire_answers = {word: (int(lines), int(files)) for word, lines, files in rows}

    def refuse_stranger(self):
        stranger = self.start("reader", STRANGER, STRANGER, title="the stranger")
        lines = stranger.rest()
        self.board.check("stranger", [("open-to-write", "DENIED"), ("open", "DENIED")],
                         [(fields.get("what"), fields.get("code")) for _, fields in lines])
        if lines:
            self.board.note(f"svmd says: {lines[-1][1]['text']}")

    def kill_writer(self):
        before = State(self.svmd)
        writer = self.start_builder("--halt-after", self.built["files"] // 2, name=NEXT, title="the next writer")
        writer.send("halt")
        halted = writer.expect("halted", lambda at: self.board.progress(
            f"next build: {at['files']} files, {human(at['held'])}"))
        during = State(self.svmd)
        held = {name: during.used[name] - before.used[name] for name in during.used}
        idle = [name for name, size in held.items() if size <= 0]
        if idle or NEXT not in during.reservations or halted["held"] <= 0:
            raise DemoError(f"the next writer should hold memory on every node, but not on {idle}")
        writer.process.send_signal(signal.SIGKILL)
        writer.kill()
        after = wait_for(lambda: State(self.svmd), lambda seen: seen.used == before.used and
                         NEXT not in seen.reservations and len(seen.sessions) == len(before.sessions))
        self.board.check_released("killed", sum(held.values()),
                                  sum(after.used.values()) - sum(before.used.values()))
        self.board.check_released("killed-name", 2, (NEXT in after.reservations) +
                                  len(after.sessions) - len(before.sessions))
        self.board.check("kept", before.used, after.used)

    def compare_words(self):
        truth = self.grep.results(lambda done, of: self.board.progress(f"grep: {done} of {of} words"))
        self.board.check("files", {describe_files(self.built["files"], self.built["unreadable"] > 0)},
                         {describe_files(read, failed) for _, _, read, failed in truth.values()})
        for row, answers in zip(("answers-a", "answers-b"), self.answers):
            wrong = [word for word, answer in answers.items() if answer != truth[word][:2]]
            lines = sum(truth[word][0] for word in answers)
            self.board.check(row, f"{WORDS // 2} of {WORDS // 2}, {lines} lines",
                             f"{len(answers) - len(wrong)} of {len(answers)}, "
                             f"{sum(lines for lines, _ in answers.values())} lines")
            for word in wrong[:10]:
                self.board.error(f"'{word}': the reader says {answers[word]}, grep says {truth[word][:2]}")
        right = sum(self.wire_answers.get(word) == truth[word][:2] for word in self.words[:WIRE_WORDS])
        self.board.check("answers-wire", f"{WIRE_WORDS} of {WIRE_WORDS}", f"{right} of {len(self.wire_answers)}")
        self.board.check("absent", self.absent, sum(lines == 0 for lines, *_ in truth.values()))
        both = {**self.answers[0], **self.answers[1]}
        for word in sorted(both, key=lambda word: -both[word][0])[:3]:
            self.board.note(f"'{word}' is in {both[word][0]} lines of {both[word][1]} files")

    def draw_map(self):
        status, self.map = self.svmd.ctl("map", "--partition", PARTITION)
        if status != 0 or INDEX not in self.map:
            raise DemoError(f"svmd-ctl map should show the reservation '{INDEX}':\n{self.map}")

    def let_go(self):
        state, outside = State(self.svmd), Outside(self.svmd)
        charged, blocks = sum(state.used.values()), outside.host + outside.device
        objects = len(state.reservations) + state.status["spaces"] + len(state.sessions)
        for program in (*self.readers, self.builder):
            if program.end() != 0:
                raise DemoError(f"{program.name} could not let go of what it held: {program.complaints}")

        def look():
            seen, files = State(self.svmd), Outside(self.svmd)
            return (sum(seen.used.values()), files.host + files.device - seen.warm(),
                    len(seen.reservations) + seen.status["spaces"] + len(seen.sessions))

        left = wait_for(look, lambda seen: seen == (0, 0, 0))
        for row, was, remains in zip(("charges", "blocks", "objects"), (charged, blocks, objects), left):
            self.board.check_released(row, was, remains)

    def stop(self):
        keepers = len(self.svmd.keepers())
        self.svmd.admin(PARTITION, "delete")
        status, left = self.svmd.stop()
        self.board.check("stop", "status 0, 1 keeper ran, 0 run on",
                         f"status {status}, {keepers} keeper ran, {len(left)} run on")


PROGRAMS = ("svmd", "svmd-keeper", "svmd-ctl", "svmd-demo-builder", "svmd-demo-reader", "svmd-demo-admin")


def check_place(directory, build):
    if os.geteuid() != 0:
        raise DemoError("the demo runs processes of several users, and only root can start those; without them nobody "
                        "could be refused. Run it as root: sudo ./dev demo")
    if not os.path.isdir(directory):
        raise DemoError(f"{directory} is no folder; name one that has text, or install libc6-dev for /usr/include")
    missing = [name for name in PROGRAMS if not os.access(os.path.join(build, name), os.X_OK)]
    if missing:
        raise DemoError(f"{', '.join(missing)} cannot be found in {build}; ./dev demo builds them")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(SOURCE, "build"), help="folder with svmd and the demo programs")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="chooses the words")
    parser.add_argument("--json", metavar="FILE", help="write the table there too")
    parser.add_argument("--keep", action="store_true", help="leave the folder with svmd's log")
    parser.add_argument("directory", nargs="?", default="/usr/include", metavar="DIR", help="text to index")
    return parser.parse_args()


def interrupt(*_):
    raise KeyboardInterrupt


def heed_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def run_demo(arguments, board):
    directory = os.path.realpath(arguments.directory)
    build = os.path.abspath(arguments.build)
    check_place(directory, build)
    folder = tempfile.mkdtemp(prefix="svmd-demo-")
    os.chmod(folder, 0o755)
    demo = Demo(board, build, directory, arguments.seed, folder)
    try:
        demo.run()
    finally:
        heed_signals(signal.SIG_IGN)
        demo.clean_up()
        if arguments.keep:
            board.note(f"svmd's log is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return demo.map


def main():
    arguments = parse_arguments()
    board, started, picture = Board(PLAN), time.monotonic(), ""
    heed_signals(interrupt)
    board.note(f"seed {arguments.seed}")
    failure = None
    try:
        picture = run_demo(arguments, board)
    except (DemoError, OSError, subprocess.SubprocessError) as error:
        failure = str(error)
        board.error(failure)
    except KeyboardInterrupt:
        failure = "interrupted"
        board.error(failure)
    seconds = round(time.monotonic() - started, 1)
    if not failure or board.rows:
        print()
        board.table()
        print()
        print(picture)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            file.write(board.as_json(seed=arguments.seed, directory=arguments.directory, seconds=seconds,
                                     failure=failure))
    ok = board.ok and not failure
    print(f"{sum(row[2] for row in board.rows.values())} of {len(board.plan)} comparisons are right"
          f" (seed {arguments.seed}, {seconds} s)" + ("" if ok else "; the demo FAILED"))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
