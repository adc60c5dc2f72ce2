"""The Python package against a real svmd with soft devices, in several processes of several users."""
import gc
import os
import select
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest

import numpy

import svmd
from machine import PATIENCE, Svmd, make_machine

BUILD = sys.argv.pop(1)
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20


class Binding(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="svmd-python-")
        os.chmod(cls.folder.name, 0o755)
        machine = os.path.join(cls.folder.name, "machine")
        make_machine(SOURCE, machine, 2, "64M")
        cls.svmd = Svmd(BUILD, cls.folder.name, machine)
        cls.addClassCleanup(cls.folder.cleanup)
        cls.addClassCleanup(cls.svmd.destroy)
        cls.svmd.wait_ready()
        cls.admin = svmd.connect(socket=cls.svmd.socket("admin.sock"), attach=False)
        cls.addClassCleanup(cls.admin.close)

    def setUp(self):
        self.admin.partition_create("lab", mode=0o666, limits={"gpu0": 32 * MIB, ("gpu0", svmd.BOUND_HIGH): 24 * MIB})
        self.s = svmd.connect(partition="lab", socket=self.svmd.socket(), name="tests")

    def tearDown(self):
        gc.collect()
        self.s.close()
        self.admin.partition_delete("lab", svmd.DELETE_END_SESSIONS)

    def child(self, code, uid=0):
        """What another Python of that user says; it gets a session s."""
        script = "import svmd, sys, numpy\ns = svmd.connect(partition='lab', socket=sys.argv[1])\n"
        done = subprocess.run([sys.executable, "-c", script + textwrap.dedent(code), self.svmd.socket()], text=True,
                              capture_output=True, timeout=PATIENCE, check=False, user=uid)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def refused(self, code):
        class Refused:
            def __enter__(inner):
                inner.raises = self.assertRaises(svmd.Error)
                inner.context = inner.raises.__enter__()

            def __exit__(inner, *error):
                result = inner.raises.__exit__(*error)
                self.assertEqual(inner.context.exception.code, code, str(inner.context.exception))
                return result
        return Refused()

    # ---- what svmd.h says is what the package has ----

    def test_constants_are_those_of_the_header(self):
        self.assertEqual(svmd.version(), "0.1.0")
        self.assertEqual((svmd.PAGE, svmd.ACCESS_READ_WRITE, svmd.E_NO_ROOM), (4096, 3, 15))
        self.assertEqual(svmd.Status.NO_ROOM, 15)
        with open(os.path.join(SOURCE, "libclient/include/svmd.h"), encoding="ascii") as header:
            text = header.read()
        self.assertIn("#define SVMD_NODE_NONE UINT32_MAX\n", text)
        self.assertIn("#define SVMD_NODE_CPU  (UINT32_MAX - 1)", text)
        with self.assertRaises(AttributeError):
            svmd.NOTHING_OF_THE_KIND

    def test_every_query_gives_rows(self):
        with self.s.reserve(MIB, name="rows") as held:
            held.array("u1")[:] = 1
            self.assertEqual([n.name for n in self.s.nodes()][-2:], ["gpu0", "gpu1"])
            self.assertTrue(any(link.type for link in self.s.links("gpu0")))
            limits = {row.node: row for row in self.s.limits()}
            gpu0 = limits[self.s.node("gpu0")]
            self.assertEqual((gpu0.max, gpu0.high), (32 * MIB, 24 * MIB))
            self.assertEqual([r.name for r in self.s.reservations()], ["rows"])
            self.assertEqual(self.s.status().version, "0.1.0")
            self.assertIn("kernel-uffd-missing", [f["id"] for f in self.s.findings()])
            self.assertEqual([p.name for p in self.admin.partitions("lab")], ["lab"])
            self.assertIn("nodes", vars(self.admin.partitions("lab")[0]))
            self.assertEqual(self.admin.partitions("lab")[0].nodes[0].partition, "lab")
            mine = [row for row in self.admin.sessions("lab") if row.client == "tests"]
            self.assertEqual([row.pid for row in mine], [os.getpid()])
            self.assertEqual(sum(row.used for row in self.admin.usage("lab") if row.session == 0), MIB)
            self.assertEqual(sum(row.used for row in self.admin.holders("lab")), MIB)
            self.assertEqual(self.s.info().partition, "lab")

    def test_errors_say_what_svmd_says(self):
        with self.refused(svmd.E_SIZE):
            self.s.reserve(4095)
        with self.refused(svmd.E_NO_SUCH) as _:
            self.s.open("nobody")
        with self.refused(svmd.E_DENIED):
            self.s.partition_create("mine")
        with self.assertRaisesRegex(svmd.Error, "NO_SUCH: .*nobody"):
            self.s.open("nobody")
        with self.assertRaisesRegex(ValueError, "no node 'gpu9'; there are: .*gpu0"):
            self.s.memory(MIB, "gpu9")
        with self.assertRaisesRegex(ValueError, "zero byte"):
            self.s.open("a\0b")
        with self.refused(svmd.E_LIMIT):
            self.s.memory(33 * MIB, "gpu0")

    # ---- memory that several share ----

    def test_two_users_see_one_array_at_one_address(self):
        index = self.s.reserve(4 * MIB, name="index", mode=0o644)
        words = index.array(numpy.uint64)
        words[:] = numpy.arange(len(words))
        said = self.child("""
            index = s.open("index")
            words = index.array(numpy.uint64)
            print(hex(index.address), words.sum(), words.flags.writeable, len(words))
            """, uid=65534)
        self.assertEqual(said, f"{index.address:#x} {words.sum()} False {len(words)}")
        self.child("""
            words = s.open("index", svmd.ACCESS_READ_WRITE).array(numpy.uint64)
            words[7] = 77
            """)
        self.assertEqual(words[7], 77)

    def test_moves_change_where_it_is_and_not_what_it_is(self):
        held = self.s.reserve(2 * MIB, granule=64 << 10)
        words = held.array(numpy.uint32, (512, 1024))
        words[:] = numpy.random.default_rng(4).integers(0, 1 << 32, words.shape, numpy.uint32)
        before = words.copy()
        gpu0 = self.s.node("gpu0")
        held.migrate("gpu0", length=MIB)
        self.assertEqual([(r.length, r.node) for r in held.residency() if r.node == gpu0], [(MIB, gpu0)])
        numpy.testing.assert_array_equal(words, before)
        fence = held.prefetch(gpu0, wait=False)
        fence.wait(PATIENCE)
        self.assertTrue(fence.done())
        self.assertTrue(held.explain().sentences)
        held.evict()
        self.assertFalse([r for r in held.residency() if r.node == gpu0])
        numpy.testing.assert_array_equal(words, before)
        held.discard(MIB)
        self.assertEqual((words[:256] == before[:256]).all(), True)
        self.assertFalse(words[256:].any())

    def test_advice_and_pins(self):
        held = self.s.reserve(2 * MIB)
        held.advise(preferred="gpu1", accessed_by=["gpu0", "gpu1"], read_mostly=True, fallback=["gpu0"])
        found = held.advice()
        self.assertEqual(found.preferred, self.s.node("gpu1"))
        self.assertEqual(found.accessed_by, 1 << self.s.node("gpu0") | 1 << self.s.node("gpu1"))
        self.assertEqual((found.read_mostly, found.fallback[0]), (1, self.s.node("gpu0")))
        held.advise(preferred=None)
        self.assertEqual(held.advice().preferred, svmd.NODE_NONE)
        with self.assertRaisesRegex(TypeError, "no advice 'prefered'; there are: preferred"):
            held.advise(prefered="gpu1")
        held.array("u1")[:] = 3
        held.pin()
        with self.refused(svmd.E_BUSY):
            held.migrate("gpu0")
        held.unpin()
        held.migrate("gpu0")

    def test_memory_of_a_device_and_its_operations(self):
        with self.s.space("gpu0") as space, self.s.memory(MIB, "gpu0") as memory:
            at = self.s.reserve(MIB, kind=svmd.EXPLICIT).address
            space.map(memory, at)
            space.submit(svmd.DEVICE_FILL, dst=at, length=MIB, value=1)
            row = space.submit(svmd.DEVICE_SUM, src=at, length=MIB)
            self.assertEqual(row.value, (MIB // 8) * 0x0101010101010101 & (1 << 64) - 1)
            space.unmap(at, MIB)
            with self.refused(svmd.E_NOT_MAPPED):
                space.submit(svmd.DEVICE_SUM, src=at, length=MIB)

    def test_memory_is_passed_on_by_name_and_by_token(self):
        with self.s.memory(MIB, "host0", svmd.MEM_SHAREABLE) as memory:
            memory.export("shared", 0o600)
            token = memory.export_fd(svmd.ACCESS_READ)
            try:
                with svmd.connect(partition="lab", socket=self.svmd.socket()) as other:
                    self.assertEqual(other.import_memory(token, svmd.ACCESS_READ).size, MIB)
                with self.refused(svmd.E_TAKEN):
                    self.s.import_memory(token, svmd.ACCESS_READ)
            finally:
                os.close(token)
            self.assertEqual(self.child("print(s.import_memory('shared').size)"), str(MIB))

    # ---- what may not crash Python ----

    def test_views_end_before_their_memory_does(self):
        held = self.s.reserve(MIB)
        words = held.array("u8")
        part = words[5:9]
        with self.assertRaisesRegex(BufferError, "1 views"):
            held.free()
        del words
        gc.collect()
        with self.assertRaises(BufferError):
            held.free()
        del part
        gc.collect()
        held.free()
        with self.assertRaises(ValueError):
            held.array("u8", 1)

    def test_a_closed_session_keeps_what_is_looked_at(self):
        with svmd.connect(partition="lab", socket=self.svmd.socket()) as other:
            words = other.reserve(MIB).array("u1")
            words[:] = 9
        self.assertEqual(words.sum(), 9 * MIB)
        with self.assertRaisesRegex(ValueError, "closed"):
            other.nodes()
        self.assertEqual(len(self.admin.sessions("lab")), 2)
        del words, other
        gc.collect()
        self.assertEqual(len(self.admin.sessions("lab")), 1)

    def test_where_nothing_is_mapped_there_is_no_view(self):
        held = self.s.reserve(MIB, kind=svmd.EXPLICIT)
        with self.assertRaisesRegex(ValueError, "shows memory"):
            held.view()
        with self.s.memory(MIB // 2, "host0") as memory:
            held.map(memory)
            held.view(0, MIB // 2)[7] = 7
            with self.assertRaisesRegex(ValueError, "shows memory"):
                held.view()
            with self.assertRaises(ValueError):
                held.view(MIB, 1)
            held.unmap(0, MIB // 2)

    def test_a_reader_cannot_write(self):
        self.s.reserve(MIB, name="read", mode=0o644)
        said = self.child("""
            words = s.open("read").array("u8")
            try:
                words[0] = 1
            except ValueError as error:
                print(error)
            """, uid=65534)
        self.assertIn("read-only", said)

    # ---- events and threads ----

    def test_events_come_to_the_handler(self):
        seen = []
        self.admin.on_event(seen.append)
        self.admin.monitor()
        held = self.s.reserve(MIB, granule=64 << 10)
        held.array("u1")[:] = 1
        held.migrate("gpu1")
        gpu1 = self.s.node("gpu1")
        while sum(event.length for event in seen if event.what == "move" and event.to == gpu1) < MIB:
            self.assertTrue(select.select([self.admin], [], [], PATIENCE)[0], [event.what for event in seen])
            self.admin.dispatch()
        self.admin.monitor(False)
        self.admin.on_event(None)

    def test_threads_share_a_session(self):
        failed = []

        def work(number):
            try:
                for _ in range(20):
                    with self.s.reserve(MIB // 4) as held:
                        words = held.array("u4")
                        words[:] = number
                        held.migrate(f"gpu{number % 2}")
                        if not (words == number).all():
                            failed.append(number)
                        del words
            except Exception as error:  # pylint: disable=broad-except
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])


if __name__ == "__main__":
    unittest.main()
