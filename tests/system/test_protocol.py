#!/usr/bin/env python3
"""svmd as protocol_client.py finds it: the client that was written from docs/protocol.md against a real svmd.

    test_protocol.py BUILD PAGE     BUILD has svmd and svmd-keeper, PAGE is docs/protocol.md
"""
import array
import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import protocol_client as wire  # noqa: E402
from protocol_client import Client, Ended, Refused  # noqa: E402

PATIENCE = 30
MIB = 1 << 20
MALFORMED, VERSION, UNKNOWN_OP, SHAPE, DENIED, NOT_ATTACHED, SIZE, RANGE, NO_SUCH, FOREIGN = 1, 2, 3, 4, 5, 6, 7, 9, 10, 11
NODE_KIND, TAKEN, FD_COUNT, FD_KIND, NOT_MAPPED, INTERRUPTED, ABORTED = 12, 17, 19, 20, 22, 25, 33
BUILD, PAGE = "", ""


class Svmd:
    """svmd in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="svmd-protocol-")
        self.path, self.log_path = self.file("run", "svmd.sock"), self.file("log")
        with open(self.file("svmd.conf"), "w", encoding="ascii"):
            pass
        self.process, self.starts = None, 0
        self.start()

    def file(self, *names):
        return os.path.join(self.folder, *names)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "svmd"), "--config", self.file("svmd.conf"), "--runtime-dir", self.file("run"),
                 "--state-dir", self.file("state"), "--host-capacity", "1G", "--soft-node", "gpu0:size=256M",
                 "--soft-node", "gpu1:size=64M,faults=off"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.starts += 1
        end = time.monotonic() + PATIENCE
        while self.log().count("; listening in ") < self.starts:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"svmd does not come up:\n{self.log()}")
            time.sleep(0.02)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self):
        """SIGINT ends svmd, its keeper, and every session."""
        if self.process.poll() is not None:
            self.start()
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            shutil.rmtree(self.folder)


def eventfd():
    """os.eventfd() came with Python 3.10."""
    fd = ctypes.CDLL(None, use_errno=True).eventfd(0, os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "eventfd")
    return fd


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen in {PATIENCE} s")
        time.sleep(0.02)


class Protocol(unittest.TestCase):
    def setUp(self):
        self.svmd = Svmd()
        self.addCleanup(lambda: self.assertEqual(self.svmd.end(), 0, "svmd did not end well"))

    def connect(self, attach=True):
        client = Client(self.svmd.path)
        self.addCleanup(client.close)
        if attach:
            client.slice = client.attach()
        return client

    def refused(self, code, call, *arguments, **fields):
        with self.assertRaises(Refused) as caught:
            call(*arguments, **fields)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        self.assertGreater(len(str(caught.exception)), 20)

    def named(self, client, size=MIB, name="table", access=wire.READ_WRITE):
        """A named reservation that shows host memory: what Reserve and MemCreate gave."""
        reservation = client.do("reserve", size=size, name=name, mode=0o600)
        memory = client.do("mem_create", node=0, size=size, flags=wire.SHAREABLE)
        client.do("map", address=reservation["address"], size=size, memory=memory["id"], access=access)
        return reservation, memory

    # ---- the page's own example ----

    def test_example_of_the_page(self):
        with open(PAGE, encoding="utf-8") as file:
            blocks = re.findall(r"```hex \w+\n(.*?)```", file.read(), re.S)
        request, reply = (bytes.fromhex(re.sub(r"#[^\n]*", "", block)) for block in blocks)
        self.assertEqual(wire.encode("Request", {"id": 1, "ops": [{"hello": {
            "min_version": 1, "max_version": 1, "client": "example"}}]}), request)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
            raw.settimeout(PATIENCE)
            raw.connect(self.svmd.path)
            raw.send(request)
            self.assertEqual(raw.recv(wire.PACKET_MAX), reply)

    # ---- the four steps, and a device ----

    def test_write_here_and_sum_there(self):
        client = self.connect()
        reservation, memory = self.named(client)
        address = reservation["address"]
        start, size = client.slice["start"], client.slice["size"]
        self.assertTrue(start <= address and address + MIB <= start + size)
        words = [(i * 0x9E3779B97F4A7C15) & (1 << 64) - 1 for i in range(MIB // 8)]
        with client.map_memory(memory["id"], MIB, access=wire.READ_WRITE) as bytes_here:
            bytes_here[:] = struct.pack(f"={len(words)}Q", *words)
        space = client.do("space_create", node=1)["id"]
        client.do("map", space=space, address=address, size=MIB, memory=memory["id"], access=wire.READ)
        with socket.socket() as unwanted:
            self.refused(FD_KIND, client.do, "submit", fds=[unwanted.fileno()], space=space, op=wire.SUM, src=address,
                         size=MIB, notify=1)
        notice = eventfd()
        fence = client.do("submit", fds=[notice], space=space, op=wire.SUM, src=address, size=MIB, notify=1)["id"]
        outcome = client.wait_fence(fence)
        self.assertEqual((outcome["code"], outcome["value"]), (0, sum(words) & (1 << 64) - 1), outcome["text"])
        self.assertEqual(os.read(notice, 8), struct.pack("=Q", 1))
        os.close(notice)
        self.refused(NO_SUCH, client.do, "fence_query", fence=fence)
        at = client.do("translate", space=space, address=address + 4096)["translate"]
        self.assertEqual((at["valid"], at["access"], at["node"], at["offset"]), (1, wire.READ, 0, 4096))
        client.do("unmap", space=space, address=address, size=MIB)
        outcome = client.wait_fence(client.do("submit", space=space, op=wire.SUM, src=address, size=8)["id"])
        self.assertEqual((outcome["code"], outcome["address"]), (NOT_MAPPED, address))

    def test_named_reservation_from_elsewhere(self):
        owner, reader = self.connect(), self.connect()
        reservation, memory = self.named(owner)
        with owner.map_memory(memory["id"], MIB, access=wire.READ_WRITE) as bytes_here:
            bytes_here[4096:4101] = b"hello"
        opened = reader.do("open", name="table", access=wire.READ)
        self.assertEqual((opened["id"], opened["address"]), (reservation["id"], reservation["address"]))
        view = wire.View(reader, opened)
        self.assertEqual(view.read(opened["address"] + 4096, 5), b"hello")
        self.refused(DENIED, reader.do, "mem_fd", memory=memory["id"], access=wire.READ_WRITE)
        self.refused(DENIED, reader.do, "unmap", address=opened["address"], size=MIB)
        self.refused(FOREIGN, reader.do, "mem_release", memory=memory["id"])
        owner.do("unmap", address=reservation["address"], size=4096)
        owner.do("free", reservation=reservation["id"])
        wait_for("the end of the reservation", lambda: reader.do("status") and any(
            event["reservation"] and event["reservation"]["gone"] for event in reader.events))
        changes = [event["reservation"] for event in reader.events if event["reservation"]]
        self.assertEqual([change["gone"] for change in changes], [0, 1])
        self.assertNotEqual(changes[0]["generation"], opened["generation"])
        self.refused(NO_SUCH, reader.do, "layout", reservation=opened["id"])

    def test_layout_in_pages(self):
        client = self.connect()
        count = 300
        reservation = client.do("reserve", size=count * 8192)
        memory = client.do("mem_create", node=0, size=4096)
        for first in range(0, count, 100):
            client.ask([("map", {"address": reservation["address"] + i * 8192, "size": 4096, "memory": memory["id"],
                                 "access": wire.READ}) for i in range(first, first + 100)], wire.ALL_OR_NOTHING)
        rows = client.layout(reservation["id"])
        self.assertEqual([row["address"] for row in rows],
                         [reservation["address"] + i * 8192 for i in range(count)])

    def test_token(self):
        giver, taker = self.connect(), self.connect()
        memory = giver.do("mem_create", node=1, size=8192, flags=wire.SHAREABLE)
        _, fds = giver.do_fd("mem_export", memory=memory["id"], access=wire.READ)
        self.assertEqual(len(fds), 1)
        self.refused(DENIED, taker.do, "mem_import", fds=fds, access=wire.READ_WRITE)
        self.assertEqual(taker.do("mem_import", fds=fds, access=wire.READ)["size"], 8192)
        self.refused(NODE_KIND, taker.do, "mem_fd", memory=memory["id"], access=wire.READ)
        os.close(fds[0])

    def test_modes(self):
        client = self.connect()
        address = client.slice["start"]
        both = [("reserve", {"size": 4096, "address": address}), ("reserve", {"size": 4096, "address": address})]
        for mode, codes in ((wire.DRY_RUN, [ABORTED, TAKEN]), (wire.ALL_OR_NOTHING, [ABORTED, TAKEN]),
                            (wire.BEST_EFFORT, [0, TAKEN])):
            self.assertEqual([result["code"] for result in client.ask(both, mode).results], codes)
        self.assertEqual(client.ask(both[:1], wire.DRY_RUN).results[0]["code"], TAKEN)
        client.do("free", reservation=client.do("reservation_query", address=address)["reservations"][
            "reservations"][0]["id"])
        self.assertEqual(client.ask(both[:1], wire.DRY_RUN).results[0]["code"], 0)
        self.refused(NO_SUCH, client.do, "reservation_query", address=address)

    def test_questions(self):
        client = self.connect(attach=False)
        nodes = {node["name"]: node for node in client.nodes()}
        self.assertEqual({name: (node["kind"], node["capacity"], node["faults"]) for name, node in nodes.items()
                          if node["kind"] == wire.SOFT},
                         {"gpu0": (wire.SOFT, 256 * MIB, 1), "gpu1": (wire.SOFT, 64 * MIB, 0)})
        self.assertEqual([node["id"] for node in nodes.values()], list(range(len(nodes))))
        status = client.do("status")["status"]
        self.assertEqual((status["pid"], status["epoch"], status["sessions"], status["keeper"]),
                         (self.svmd.process.pid, 1, 1, 1))
        self.assertIn("uid", [finding["id"] for finding in status["findings"]])
        client.slice = client.attach()
        client.do("mem_create", node=nodes["gpu1"]["id"], size=MIB)
        row, = client.do("limits")["usage"]["rows"]
        self.assertEqual([(use["node"], use["used"]) for use in row["nodes"]], [(nodes["gpu1"]["id"], MIB)])

    # ---- wrong things ----

    def test_refusals_leave_the_session(self):
        client = self.connect(attach=False)
        self.refused(SHAPE, client.do, "hello", min_version=1, max_version=1)
        self.refused(NOT_ATTACHED, client.do, "reserve", size=4096)
        self.refused(DENIED, client.do, "session_list")
        self.refused(UNKNOWN_OP, client.do, "not_there")
        client.slice = client.attach()
        other = self.connect()
        memory = other.do("mem_create", node=0, size=4096)["id"]
        self.refused(FOREIGN, client.do, "mem_release", memory=memory)
        self.refused(NO_SUCH, client.do, "mem_release", memory=memory + 1000000)
        self.refused(NO_SUCH, client.do, "space_destroy", space=memory)
        self.refused(RANGE, client.do, "reserve", size=4096, address=4096)
        self.refused(SIZE, client.do, "reserve", size=4097)
        with open(os.devnull, "rb") as unwanted:
            self.refused(FD_COUNT, client.do, "status", fds=[unwanted.fileno()])
        answer = client.ask([("attach", {}), ("status", {})])
        self.assertEqual([result["code"] for result in answer.results], [SHAPE, 0])
        self.assertEqual(other.do("mem_release", memory=memory)["code"], 0)

    def test_versions(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
            raw.settimeout(PATIENCE)
            raw.connect(self.svmd.path)
            for number, (low, high), code in ((1, (2, 9), VERSION), (2, (0, 0), VERSION), (3, (1, 9), 0)):
                raw.send(wire.encode("Request", {"id": number, "ops": [{"hello": {"min_version": low,
                                                                                  "max_version": high}}]}))
                result, = wire.decode("Packet", raw.recv(wire.PACKET_MAX))["reply"]["results"]
                self.assertEqual(result["code"], code)
            self.assertEqual(result["hello"]["version"], 1)

    def test_malformed_packets_end_the_session(self):
        status = [{"status": {}}]
        bad = {
            "no message": b"\xff" * 16,
            "cut short": wire.encode("Request", {"id": 9, "ops": status})[:-1],
            "id 0": wire.encode("Request", {"ops": status}),
            "no operation": wire.encode("Request", {"id": 9}),
            "an id that does not grow": wire.encode("Request", {"id": 1, "ops": status}),
            "1025 operations": wire.encode("Request", {"id": 9, "ops": status * 1025}),
            "a string of 64 bytes": wire.encode("Request", {"id": 9, "ops": [{"attach": {"partition": "x" * 64}}]}),
            "too long": b"\0" * (wire.PACKET_MAX + 1),
        }
        stays = self.connect()
        for what, packet in bad.items():
            with self.subTest(what):
                client = self.connect()
                held = client.do("reserve", size=4096)["address"]
                client.send_raw(packet)
                with self.assertRaises(Ended) as caught:
                    client.receive()
                    client.receive()
                self.assertEqual(caught.exception.code, MALFORMED)
                self.refused(NO_SUCH, stays.do, "reservation_query", address=held)
        self.assertEqual(stays.do("status")["status"]["sessions"], 1)

    def test_too_many_descriptors_end_the_session(self):
        client = self.connect()
        with open(os.devnull, "rb") as file:
            client.send_raw(wire.encode("Request", {"id": 9, "ops": [{"status": {}}]}),
                            array.array("i", [file.fileno()] * 65))
        with self.assertRaises(Ended) as caught:
            client.receive()
            client.receive()
        self.assertEqual(caught.exception.code, MALFORMED)

    def test_largest_request(self):
        client = self.connect()
        results = client.ask([("reserve", {"size": 4096})] * 1024, wire.ALL_OR_NOTHING).results
        self.assertEqual(len({result["address"] for result in results if result["code"] == 0}), 1024)

    def test_the_end_of_a_connection_releases(self):
        watcher, leaver = self.connect(), self.connect()
        self.named(leaver)
        leaver.do("mem_create", node=1, size=MIB)
        self.assertGreater(sum(node["used"] for node in watcher.nodes()), 0)
        leaver.close()
        wait_for("the release", lambda: sum(node["used"] for node in watcher.nodes()) == 0)
        self.refused(NO_SUCH, watcher.do, "open", name="table", access=wire.READ)

    # ---- another svmd takes over ----

    def test_restart(self):
        client = self.connect()
        reservation, memory = self.named(client)
        with client.map_memory(memory["id"], MIB, access=wire.READ_WRITE) as bytes_here:
            bytes_here[:5] = b"stays"
        space = client.do("space_create", node=1)["id"]
        self.svmd.process.send_signal(signal.SIGSTOP)
        asked = [client.send([("reserve", {"size": 4096})]) for _ in range(20)]
        asked.append(client.send([("submit", {"space": space, "op": wire.SUM, "src": reservation["address"],
                                              "size": 8})]))
        self.svmd.kill()
        self.svmd.start()
        answers = [client.answer(number).results[0] for number in asked]
        self.assertEqual([event["epoch"]["epoch"] for event in client.events if event["epoch"]], [2])
        self.assertEqual([answer["code"] for answer in answers], [0] * 21)
        self.assertEqual(len({answer["address"] for answer in answers[:20]}), 20)
        status = client.do("status")["status"]
        self.assertEqual((status["epoch"], status["reservations"], status["memories"]), (2, 21, 1))
        with client.map_memory(memory["id"], MIB) as bytes_here:
            self.assertEqual(bytes_here[:5], b"stays")
        self.assertEqual(self.connect().do("open", name="table", access=wire.READ)["address"], reservation["address"])
        old = client.do("fence_query", fence=1)["fence"]
        self.assertEqual((old["done"], old["code"]), (1, INTERRUPTED))


def main():
    global BUILD, PAGE  # pylint: disable=global-statement
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    BUILD, PAGE = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
