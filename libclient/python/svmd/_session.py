"""Sessions: the connection to svmd, what it may use, and what can be asked."""
import os
import threading

from ._library import Options, check, ffi, lib, text
from ._memory import Memory, Space
from ._range import open_named, reserve
from ._rows import row, rows


class Core:
    """The C session, for as long as it is open or somebody looks at its memory: its end would unmap that."""

    def __init__(self, pointer):
        self.pointer, self.alive, self.closed, self.users, self.lock = pointer, True, False, 0, threading.Lock()
        self.pid = os.getpid()

    def check(self):
        if self.closed:
            raise ValueError("the session is closed")

    def take(self):
        with self.lock:
            self.users += 1

    def give(self):
        with self.lock:
            self.users -= 1
        self._end()

    def close(self):
        self.closed = True
        self._end()

    def _end(self):
        with self.lock:
            end = self.closed and self.users == 0 and self.alive
            self.alive = self.alive and not end
        if end and self.pid == os.getpid():
            lib.svmd_disconnect(self.pointer)


class Session:
    """A session with svmd; see connect(). It ends with close(), or at the end of a with block. Views of its memory that
    are in use then keep their memory until they go; everything else is refused from close() on."""

    def __init__(self, core):
        self.core = core
        self._nodes = {}
        self._handler = None

    @property
    def pointer(self):
        self.core.check()
        return self.core.pointer

    def close(self):
        self.core.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        core = getattr(self, "core", None)
        if core and not core.closed:
            core.close()

    # ---- what there is to use ----

    def reserve(self, size, name=None, kind=lib.SVMD_SHARED, granule=0, mode=0, flags=0, alignment=0, address=None):
        """Addresses, and for kind SHARED (managed) the memory behind them. A name lets others open them."""
        return reserve(self, size, name, kind, granule, mode, flags, alignment, address)

    def open(self, name, access=lib.SVMD_ACCESS_READ):
        """A named reservation, at the address where everyone has it."""
        return open_named(self, name, access)

    def memory(self, size, node, flags=0):
        """Zeroed memory on a node, taken from it and charged before this returns."""
        found = ffi.new("svmd_mem *")
        check(lib.svmd_mem_create(self.pointer, found, size, self.node(node), flags))
        return Memory(self, found[0], size)

    def import_memory(self, source, access=lib.SVMD_ACCESS_READ_WRITE):
        """Memory that another exported: its name, or a descriptor that was passed on, which stays the caller's."""
        found, size = ffi.new("svmd_mem *"), ffi.new("size_t *")
        if isinstance(source, int):
            check(lib.svmd_mem_import_fd(self.pointer, found, size, source, access))
        else:
            check(lib.svmd_mem_import(self.pointer, found, size, text(source), access))
        return Memory(self, found[0], size[0])

    def space(self, node):
        """An address space of a device."""
        return Space(self, node)

    def node(self, node):
        """The number of a node, by its name or number."""
        if isinstance(node, int):
            return node
        if node not in self._nodes:
            self._nodes = {one.name: one.id for one in self.nodes()}
        if node not in self._nodes:
            raise ValueError(f"there is no node {node!r}; there are: {', '.join(self._nodes)}")
        return self._nodes[node]

    # ---- what can be asked: lists of rows ----

    def info(self):
        found = Options("svmd_session_info")
        check(lib.svmd_session_info(self.pointer, found.struct))
        return row(found.struct)

    def status(self):
        found = Options("svmd_status")
        check(lib.svmd_query_status(self.pointer, found.struct))
        return row(found.struct)

    def nodes(self):
        return self._rows("nodes", "node")

    def links(self, node):
        return self._rows("links", "link", self.node(node))

    def limits(self):
        """Limits and use of the session's own partition, a row a node."""
        return self._rows("limits", "use")

    def reservations(self, partition=None):
        return self._rows("reservations", "reservation", text(partition))

    def findings(self):
        """What svmd found out about the machine: dicts of id, level, text."""
        found = []

        @ffi.callback("svmd_finding_fn")
        def take(name, level, sentence, _):
            found.append({"id": ffi.string(name).decode(), "level": level, "text": ffi.string(sentence).decode()})
            return 0

        check(lib.svmd_query_findings(self.pointer, take, ffi.NULL))
        return found

    # ---- of these, some are for administrators ----

    def partitions(self, name=None):
        return self._rows("partitions", "partition", text(name))

    def sessions(self, partition=None):
        return self._rows("sessions", "session", text(partition))

    def usage(self, partition=None):
        return self._rows("usage", "use", text(partition))

    def holders(self, partition=None):
        """Who holds what now, with process, control group and container."""
        return self._rows("holders", "holder", text(partition))

    def partition_create(self, name, length=0, limits=None, uid=0, gid=0, mode=0, domain=None,
                         window=lib.SVMD_WINDOW_PRIMARY):
        """A new partition. `limits`: {node: bytes}, or {(node, svmd.BOUND_MIN): bytes}. Returns its first address."""
        options = Options("svmd_partition_options", length=length, uid=uid, gid=gid, mode=mode, domain=domain,
                          window=window)
        table = options.hold(ffi.new("struct svmd_limit[]", max(1, len(limits or {}))))
        for place, (key, most) in zip(table, (limits or {}).items()):
            node, place.bound = key if isinstance(key, tuple) else (key, lib.SVMD_BOUND_MAX)
            place.node, place.max = self.node(node), most
        options.struct.limits, options.struct.limits_count = table, len(limits or {})
        base = ffi.new("uint64_t *")
        check(lib.svmd_partition_create(self.pointer, text(name), options.struct, base))
        return base[0]

    def partition_delete(self, name, flags=0):
        check(lib.svmd_partition_delete(self.pointer, text(name), flags, 0))

    # ---- events ----

    def fileno(self):
        """Readable when dispatch() has something to do: for select, asyncio's add_reader ... Never read or close it."""
        return lib.svmd_event_fd(self.pointer)

    def dispatch(self):
        """Takes in what has arrived, without waiting, and calls the handler of events."""
        check(lib.svmd_dispatch(self.pointer))

    def on_event(self, handler):
        """`handler` gets each event as a row, in the thread that dispatches or waits; None removes it."""
        callback = ffi.NULL
        if handler:
            @ffi.callback("svmd_event_fn")
            def callback(_, event, __):
                handler(row(event))

        check(lib.svmd_set_event_handler(self.pointer, callback, ffi.NULL))
        self._handler = callback  # C has a pointer to it

    def monitor(self, on=True):
        check(lib.svmd_monitor(self.pointer, on))

    def _rows(self, query, kind, *arguments):
        function = getattr(lib, f"svmd_query_{query}")
        return rows(f"svmd_{kind}_fn", lambda fn, data: function(self.pointer, *arguments, fn, data))


def connect(partition=None, socket=None, name=None, attach=True, window=lib.SVMD_WINDOW_AUTO):
    """Connects to svmd and attaches to a partition (None: $SVMD_PARTITION, else the caller's default). `attach` false:
    for questions and administration only. `socket` None: $SVMD_SOCKET, else the system's svmd."""
    options = Options("svmd_connect_options", partition=partition, socket=socket, name=name, window=window,
                      flags=0 if attach else lib.SVMD_CONNECT_NO_ATTACH)
    found = ffi.new("svmd_session **")
    check(lib.svmd_connect(found, options.struct))
    return Session(Core(found[0]))
