#!/usr/bin/env python3
"""A client of svmd that was written from docs/protocol.md alone, with nothing but Python's standard library.

    protocol_client.py [--socket S] [--partition P] nodes
    protocol_client.py [--socket S] [--partition P] query NAME WORD...

`query` opens the demo's index, a named reservation made of raw pointers, and answers words by following them. It prints
a line `WORD LINES FILES` for each.
"""
import argparse
import array
import collections
import ctypes
import fcntl
import mmap
import os
import socket
import struct
import sys

PACKET_MAX, FDS_MAX = 131072, 64
BEST_EFFORT, ALL_OR_NOTHING, DRY_RUN = 0, 1, 2
READ, READ_WRITE = 1, 3
PRIMARY, LOW = 0, 1
SHAREABLE = 1
HOST, SOFT = 1, 2
SUM, CHASE = 4, 5

# What the tables of the page say, as "NUMBER NAME TYPE". A star is a list; `int` is every number and every enum.
SCHEMA = {
    "Request": "1 id int, 2 mode int, 3 ops Op*",
    # The last one is no operation at all.
    "Op": "1 hello Hello, 2 attach Attach, 3 reserve Reserve, 4 open Open, 5 free Free, 6 mem_create MemCreate, "
          "7 mem_release MemRelease, 8 mem_export MemExport, 9 mem_import MemImport, 10 mem_fd MemFd, 11 map Map, "
          "12 unmap Unmap, 13 set_access SetAccess, 17 space_create SpaceCreate, 18 space_destroy SpaceDestroy, "
          "19 submit Submit, 20 fence_query FenceQuery, 21 layout Layout, 22 translate Translate, 23 nodes Nodes, "
          "24 links Links, 25 status Status, 26 limits Limits, 28 reservation_query ReservationQuery, "
          "29 uffd_device UffdDevice, 30 uffd_give UffdGive, 31 range_files RangeFiles, 32 join Join, "
          "44 session_list SessionList, 46 reservation_list ReservationList, 600 not_there Status",
    "Hello": "1 min_version int, 2 max_version int, 3 client str",
    "Attach": "1 partition str, 2 window int",
    "Reserve": "1 size int, 2 align int, 3 address int, 4 kind int, 5 name str, 6 mode int",
    "Open": "1 name str, 2 access int",
    "Free": "1 reservation int",
    "MemCreate": "1 node int, 2 size int, 3 flags int",
    "MemRelease": "1 memory int",
    "MemExport": "1 memory int, 2 name str, 3 mode int, 4 access int",
    "MemImport": "1 name str, 2 access int",
    "MemFd": "1 memory int, 2 access int",
    "Map": "1 space int, 2 address int, 3 size int, 4 memory int, 5 offset int, 6 access int, 7 pat int, 8 kind int, "
           "9 flags int",
    "Unmap": "1 space int, 2 address int, 3 size int",
    "SetAccess": "1 space int, 2 address int, 3 size int, 4 access int",
    "SpaceCreate": "1 node int",
    "SpaceDestroy": "1 space int",
    "Submit": "1 space int, 2 op int, 3 dst int, 4 src int, 5 size int, 6 value int, 7 notify int",
    "FenceQuery": "1 fence int",
    "Layout": "1 reservation int, 2 from int",
    "Translate": "1 space int, 2 address int",
    "Nodes": "1 from int",
    "Links": "1 node int",
    "Status": "",
    "Limits": "",
    "ReservationQuery": "1 address int",
    "UffdDevice": "",
    "UffdGive": "",
    "RangeFiles": "1 reservation int",
    "Join": "1 reservation int",
    "SessionList": "1 after int, 2 partition str",
    "ReservationList": "1 partition str, 2 after int",
    "Packet": "1 reply Reply, 2 event Event",
    "Reply": "1 id int, 2 results Result*",
    "Result": "1 code int, 2 text str, 3 id int, 4 address int, 5 size int, 6 value int, 7 generation int, 8 more int, "
              "9 hello HelloResult, 10 attach AttachResult, 11 translate TranslateResult, 12 status StatusResult, "
              "13 layout LayoutResult, 14 nodes NodesResult, 15 links LinksResult, 16 usage UsageResult, "
              "19 reservations ReservationsResult, 20 fence FenceResult",
    "HelloResult": "1 version int, 2 daemon str, 3 epoch int, 4 session int, 5 admin int",
    "AttachResult": "1 partition str, 2 start int, 3 size int, 4 window int, 5 domain str",
    "TranslateResult": "1 valid int, 2 sparse int, 3 access int, 4 pat int, 5 kind int, 6 node int, 7 offset int",
    "StatusResult": "1 version str, 2 pid int, 3 uptime_ms int, 4 epoch int, 5 nodes int, 6 partitions int, "
                    "7 sessions int, 8 reservations int, 9 memories int, 10 mappings int, 11 spaces int, "
                    "12 requests int, 13 refusals int, 14 journal_used int, 15 journal_size int, 16 keeper int, "
                    "17 findings Finding*",
    "Finding": "1 id str, 2 level int, 3 text str",
    "LayoutResult": "1 mappings Mapping*",
    "Mapping": "1 address int, 2 size int, 3 memory int, 4 offset int, 5 access int",
    "NodesResult": "1 nodes Node*",
    "Node": "1 id int, 2 name str, 3 kind int, 4 faults int, 5 capacity int, 6 used int, 7 limited int, 8 hive int, "
            "9 model str, 10 pool_bytes int, 11 spaces int, 12 ops int, 13 va_start int, 14 va_end int, 15 online int",
    "LinksResult": "1 links Link*",
    "Link": "1 to int, 2 type str, 3 weight int, 4 min_bandwidth int, 5 max_bandwidth int, 6 peer int",
    "UsageResult": "1 rows UsageRow*",
    "UsageRow": "1 partition str, 2 session int, 3 pid int, 4 uid int, 5 client str, 6 nodes NodeUse*",
    "NodeUse": "1 node int, 2 used int, 3 peak int, 4 max int",
    "ReservationsResult": "1 reservations Reservation*",
    "Reservation": "1 id int, 2 address int, 3 size int, 4 session int, 5 name str, 6 uid int, 7 gid int, 8 mode int, "
                   "9 openers int, 10 mapped int, 11 generation int, 12 partition str",
    "FenceResult": "1 done int, 2 code int, 3 text str, 4 value int, 5 address int",
    "Event": "1 dropped int, 2 fence FenceEvent, 3 reservation ReservationEvent, 4 epoch EpochEvent, 5 end EndEvent",
    "FenceEvent": "1 fence int, 2 result FenceResult",
    "ReservationEvent": "1 reservation int, 2 generation int, 3 gone int",
    "EpochEvent": "1 epoch int",
    "EndEvent": "1 code int, 2 text str",
}

Field = collections.namedtuple("Field", "number name type list")


def _fields(text):
    rows = [row.split() for row in text.split(",") if row]
    return [Field(int(number), name, kind.rstrip("*"), kind.endswith("*")) for number, name, kind in rows]


FIELDS = {message: _fields(text) for message, text in SCHEMA.items()}


# ---- protobuf ----

def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(message, fields):
    """A dict as the bytes of a message. Zeros and empty strings are left out; messages never are."""
    out = bytearray()
    known = {field.name: field for field in FIELDS[message]}
    for name, value in fields.items():
        field = known[name]
        for item in value if field.list else [value]:
            if field.type == "int":
                if item:
                    out += varint(field.number << 3) + varint(int(item))
                continue
            if field.type == "str" and not item:
                continue
            item = item.encode() if field.type == "str" else encode(field.type, item)
            out += varint(field.number << 3 | 2) + varint(len(item)) + item
    return bytes(out)


def _take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def _take_value(data, at, wire):
    if wire == 0:
        return _take_varint(data, at)
    if wire == 1:
        return data[at:at + 8], at + 8
    if wire == 5:
        return data[at:at + 4], at + 4
    size, at = _take_varint(data, at)
    if wire != 2 or at + size > len(data):
        raise ValueError("not a message")
    return data[at:at + size], at + size


def decode(message, data):
    """The bytes of a message as a dict of all its fields. What is absent is 0, "", [], or None; what is unknown is
    passed over."""
    known = {field.number: field for field in FIELDS[message]}
    out = {f.name: [] if f.list else {"int": 0, "str": ""}.get(f.type) for f in FIELDS[message]}
    at = 0
    while at < len(data):
        key, at = _take_varint(data, at)
        value, at = _take_value(data, at, key & 7)
        field = known.get(key >> 3)
        if not field or (key & 7 == 0) != (field.type == "int"):
            continue
        if field.type == "str":
            value = value.decode(errors="replace")
        elif field.type != "int":
            value = decode(field.type, value)
        if field.list:
            out[field.name].append(value)
        else:
            out[field.name] = value
    return out


# ---- the connection ----

class Refused(Exception):
    def __init__(self, result):
        super().__init__(f"{result['text']} (code {result['code']})")
        self.code = result["code"]


class Ended(Exception):
    """svmd ended the session, or the connection did."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


Asked = collections.namedtuple("Asked", "data fds")
Answer = collections.namedtuple("Answer", "results fds")


class Client:
    """One connection. Everything waits at most `patience` seconds."""

    def __init__(self, path, name="protocol client", patience=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(patience)
        self.socket.connect(path)
        self.last_id = 0
        self.unanswered = {}  # id: Asked, in order
        self.answers = {}  # id: Answer, not fetched yet
        self.events = []
        self.dropped = 0
        self.end = (0, "svmd closed the connection")
        self.hello = self.do("hello", min_version=1, max_version=1, client=name)["hello"]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- packets ----

    def send_raw(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def receive_raw(self):
        """One packet and its descriptors; b"" at the end."""
        data, control, flags, _ = self.socket.recvmsg(PACKET_MAX, socket.CMSG_SPACE(4 * FDS_MAX),
                                                      socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:len(content) - len(content) % 4])
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a packet was cut off")
        return data, list(fds)

    def receive(self):
        """Takes in one packet: an answer, or an event."""
        try:
            data, fds = self.receive_raw()
        except ConnectionResetError:
            data, fds = b"", []
        if not data:
            raise Ended(*self.end)
        packet = decode("Packet", data)
        if packet["reply"]:
            reply = packet["reply"]
            if self.unanswered.pop(reply["id"], None):
                self.answers[reply["id"]] = Answer(reply["results"], fds)
        elif packet["event"]:
            self._take_event(packet["event"])

    def _take_event(self, event):
        self.dropped += event["dropped"]
        if event["epoch"]:
            for asked in self.unanswered.values():
                self.send_raw(asked.data, asked.fds)
        if event["end"]:
            self.end = (event["end"]["code"], event["end"]["text"])
        self.events.append(event)

    # ---- requests ----

    def send(self, ops, mode=BEST_EFFORT, fds=()):
        """Sends a request of [(operation, fields)] and returns its id. Descriptors must stay open until the answer."""
        self.last_id += 1
        data = encode("Request", {"id": self.last_id, "mode": mode, "ops": [{name: fields} for name, fields in ops]})
        self.unanswered[self.last_id] = Asked(data, fds)
        try:
            self.send_raw(data, fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what svmd said before it ended the session is still to be read
        return self.last_id

    def answer(self, number):
        while number not in self.answers:
            self.receive()
        return self.answers.pop(number)

    def ask(self, ops, mode=BEST_EFFORT, fds=()):
        return self.answer(self.send(ops, mode, fds))

    def do(self, operation, fds=(), **fields):
        """One operation: its result; Refused where it failed."""
        return self.do_fd(operation, fds, **fields)[0]

    def do_fd(self, operation, fds=(), **fields):
        answer = self.ask([(operation, fields)], fds=fds)
        if answer.results[0]["code"]:
            raise Refused(answer.results[0])
        return answer.results[0], answer.fds

    def list(self, operation, rows, after, key, **fields):
        """All rows of a list that comes in pages: `after` is the operation's field, `key` gives its next value."""
        found = []
        while True:
            result = self.do(operation, **fields)
            found += result[operation][rows]
            if not result["more"]:
                return found
            fields[after] = key(found[-1])

    # ---- what a client does ----

    def attach(self, partition="", window=PRIMARY):
        return self.do("attach", partition=partition, window=window)["attach"]

    def nodes(self):
        return self.list("nodes", "nodes", "from", lambda row: row["id"] + 1)

    def layout(self, reservation):
        return self.list("layout", "mappings", "from", lambda row: row["address"] + row["size"], reservation=reservation)

    def wait_fence(self, fence):
        """The outcome of a device operation: its event, or, where that was dropped, the answer to a query."""
        seen, dropped = 0, self.dropped
        while True:
            for event in self.events[seen:]:
                if event["fence"] and event["fence"]["fence"] == fence:
                    return event["fence"]["result"]
                if event["epoch"] or self.dropped > dropped:
                    result = self.do("fence_query", fence=fence)["fence"]
                    if result["done"]:
                        return result
                    dropped = self.dropped
            seen = len(self.events)
            self.receive()

    def map_memory(self, memory, size, offset=0, access=READ):
        """The bytes [offset, offset + size) of host memory, in this process."""
        result, fds = self.do_fd("mem_fd", memory=memory, access=access)
        try:
            return mmap.mmap(fds[0], size, offset=result["value"] + offset,
                             access=mmap.ACCESS_READ if access == READ else mmap.ACCESS_WRITE)
        finally:
            for fd in fds:
                os.close(fd)


USERFAULTFD_IOC_NEW = 0xAA00
MAP_FIXED_NOREPLACE = 0x100000
MADV_DONTFORK = 10
PROT_NONE = 0


class ManagedView:
    """A managed range, mapped to read where everyone has it. Its pages come when they are touched."""

    def __init__(self, client, opened):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                                                                  ctypes.c_int, ctypes.c_int, ctypes.c_long]
        self.start, self.size = opened["address"], opened["size"]
        self._give_userfaultfd(client)
        _, files = client.do_fd("range_files", reservation=opened["id"])
        at = libc.mmap(self.start, self.size, PROT_NONE,
                       mmap.MAP_PRIVATE | MAP_FIXED_NOREPLACE, files[0], 0)
        for fd in files:
            os.close(fd)
        if at != self.start:
            raise ValueError(f"{self.start:#x} cannot be mapped: {os.strerror(ctypes.get_errno())}")
        libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(self.size), MADV_DONTFORK)
        client.do("join", reservation=opened["id"])
        if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(self.size), mmap.PROT_READ):
            raise ValueError("the range cannot be made readable")

    def _give_userfaultfd(self, client):
        _, (device,) = client.do_fd("uffd_device")
        self.userfaultfd = fcntl.ioctl(device, USERFAULTFD_IOC_NEW, os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(device)
        client.do("uffd_give", fds=[self.userfaultfd])

    def read(self, address, size):
        if not self.start <= address <= address + size <= self.start + self.size:
            raise ValueError(f"{address:#x} lies outside of the range")
        return ctypes.string_at(address, size)

    def unpack(self, address, form):
        return struct.unpack(form, self.read(address, struct.calcsize(form)))


class View:
    """What a reservation shows, read by its own addresses, wherever this process has it mapped."""

    def __init__(self, client, opened):
        self.pieces = []
        for row in client.layout(opened["id"]):
            if row["access"] & READ:
                self.pieces.append((row["address"], row["address"] + row["size"],
                                    client.map_memory(row["memory"], row["size"], row["offset"])))

    def read(self, address, size):
        out = b""
        for start, end, piece in self.pieces:
            if start <= address < end and size:
                part = piece[address - start:address - start + min(size, end - address)]
                out, address, size = out + part, address + len(part), size - len(part)
        if size:
            raise ValueError(f"nothing is shown at {address:#x}")
        return out

    def unpack(self, address, form):
        return struct.unpack(form, self.read(address, struct.calcsize(form)))


# ---- the demo's query ----

INDEX_MAGIC = 0x3178646E69646D76


class Index:
    """The pointers of tests/demo/index.h."""

    def __init__(self, view, address):
        self.view = view
        magic, at, *_, self.buckets, self.bucket_count = view.unpack(address, "=QQ3QQQ")
        if magic != INDEX_MAGIC or at != address:
            raise ValueError(f"there is no index at {address:#x}")

    def find(self, text):
        number = 0xCBF29CE484222325
        for byte in text:
            number = (number ^ byte) * 0x100000001B3 & (1 << 64) - 1
        number = (number ^ number >> 32) & (1 << 32) - 1
        word, = self.view.unpack(self.buckets + 8 * (number & self.bucket_count - 1), "=Q")
        while word:
            chain, _, postings, _, its_hash, length = self.view.unpack(word, "=4Q2I")
            if (its_hash, length) == (number, len(text)) and self.view.read(word + 40, length) == text:
                return postings
            word = chain
        return 0

    def answer(self, text):
        lines = files = 0
        posting = self.find(text)
        while posting:
            posting, _, more = self.view.unpack(posting, "=3Q")
            lines, files = lines + more, files + 1
        return lines, files


def query(client, name, words):
    opened = client.do("open", name=name, access=READ)
    view = ManagedView(client, opened) if opened["value"] else View(client, opened)
    index = Index(view, opened["address"])
    for word in words:
        print(word, *index.answer(word.encode()))
    client.do("free", reservation=opened["id"])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", default=os.environ.get("SVMD_SOCKET", "/run/svmd/svmd.sock"))
    parser.add_argument("--partition", default=os.environ.get("SVMD_PARTITION", ""))
    parser.add_argument("--uid", type=int, help="become this user first")
    parser.add_argument("--gid", type=int, help="and of this group alone")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("nodes", help="list the nodes")
    asked = commands.add_parser("query", help="answer words from the demo's index")
    asked.add_argument("name", metavar="NAME")
    asked.add_argument("words", nargs="+", metavar="WORD")
    return parser.parse_args()


def become(uid, gid):
    if gid is not None:
        os.setgroups([])
        os.setgid(gid)
    if uid is not None:
        os.setuid(uid)


def main():
    arguments = parse_arguments()
    become(arguments.uid, arguments.gid)
    try:
        with Client(arguments.socket) as client:
            if arguments.command == "nodes":
                for node in client.nodes():
                    print(node["id"], node["name"], node["capacity"], node["used"])
                return 0
            client.attach(arguments.partition)
            query(client, arguments.name, arguments.words)
    except (Refused, Ended, OSError, ValueError) as error:
        print(f"protocol_client.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
