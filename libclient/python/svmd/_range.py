"""Reservations: addresses that mean the same in every process, and views of what lies there."""
import threading
import weakref

from ._fence import started
from ._library import NODE_NONE, Options, check, ffi, lib, text
from ._rows import row, rows

ADVICE = {"preferred": lib.SVMD_ADVISE_PREFERRED, "accessed_by": lib.SVMD_ADVISE_ACCESSED_BY,
          "read_mostly": lib.SVMD_ADVISE_READ_MOSTLY, "pinned": lib.SVMD_ADVISE_PINNED,
          "granularity": lib.SVMD_ADVISE_GRANULARITY, "fallback": lib.SVMD_ADVISE_FALLBACK,
          "atomics": lib.SVMD_ADVISE_ATOMICS, "coarse": lib.SVMD_ADVISE_COARSE, "group": lib.SVMD_ADVISE_GROUP}


class Reservation:
    """A range of addresses. Offsets count from its start; a length of None goes to its end."""

    def __init__(self, session, address, size, writable):
        self.session, self.address, self.size, self.writable = session, address, size, writable
        self._views, self._lock = 0, threading.Lock()

    # ---- what lies there ----

    def view(self, offset=0, length=None):
        """The bytes themselves as a memoryview, read-only where the reservation is. A managed range is there as a
        whole; of another only what shows memory, and what shows none is a ValueError, not a crash."""
        address, length = self._part(offset, length)
        if self.info().kind == lib.SVMD_EXPLICIT and not _accessible(address, length, self.writable):
            raise ValueError(f"not all of {address:#x} to {address + length:#x} shows memory")
        buffer = ffi.buffer(ffi.cast("char *", address), length)
        with self._lock:
            self._views += 1
        self.session.core.take()
        weakref.finalize(buffer, self._drop).atexit = False
        view = memoryview(buffer)
        return view if self.writable else view.toreadonly()

    def array(self, dtype, shape=None, offset=0):
        """A numpy array over the range itself; without a shape, as many elements as fit."""
        import numpy  # pylint: disable=import-outside-toplevel

        dtype = numpy.dtype(dtype)
        if shape is None:
            shape = ((self.size - offset) // dtype.itemsize,)
        elif isinstance(shape, int):
            shape = (shape,)
        count = 1
        for side in shape:
            count *= int(side)
        return numpy.frombuffer(self.view(offset, count * dtype.itemsize), dtype, count).reshape(shape)

    def _drop(self):
        with self._lock:
            self._views -= 1
        self.session.core.give()

    # ---- of kind EXPLICIT ----

    def map(self, memory, at=0, size=None, offset=0, access=lib.SVMD_ACCESS_READ_WRITE, replace=False):
        """Shows memory of the host at an offset of the reservation."""
        address, size = self._part(at, memory.size - offset if size is None else size)
        check(lib.svmd_mem_map(self.session.pointer, 0, address, size, offset, memory.handle, access,
                               lib.SVMD_MAP_REPLACE if replace else 0))

    def unmap(self, at=0, size=None):
        """What was shown goes; BufferError while a view may look at it."""
        self._no_views("unmapped")
        address, size = self._part(at, size)
        check(lib.svmd_mem_unmap(self.session.pointer, 0, address, size))

    # ---- managed ----

    def prefetch(self, node, offset=0, length=None, wait=True):
        """A hint: to a node before it is needed there."""
        return self._move(lib.svmd_prefetch, offset, length, wait, self.session.node(node))

    def migrate(self, node, offset=0, length=None, wait=True):
        """The same as an order, which fails where there is no room."""
        return self._move(lib.svmd_migrate, offset, length, wait, self.session.node(node))

    def evict(self, offset=0, length=None, wait=True):
        """Off the node where it is, to where policy wants it."""
        return self._move(lib.svmd_evict, offset, length, wait)

    def discard(self, offset=0, length=None, wait=True):
        """Its content is zero afterwards, for everyone."""
        return self._move(lib.svmd_discard, offset, length, wait)

    def pin(self, offset=0, length=None, wait=True):
        """To host memory, where it stays until it is unpinned as often."""
        return self._move(lib.svmd_pin, offset, length, wait)

    def unpin(self, offset=0, length=None):
        address, length = self._part(offset, length)
        check(lib.svmd_unpin(self.session.pointer, ffi.cast("void *", address), length))

    def revoke(self, wait=True):
        """Nobody may use the reservation until unrevoke(); accesses wait."""
        return self._whole(lib.svmd_revoke, wait)

    def unrevoke(self, wait=True):
        return self._whole(lib.svmd_unrevoke, wait)

    def advise(self, offset=0, length=None, **advice):
        """Hints, by the names of struct svmd_advice: preferred (a node, None takes it back), accessed_by (nodes),
        fallback (nodes in their order), read_mostly, pinned, granularity, atomics, coarse, group."""
        address, length = self._part(offset, length)
        check(lib.svmd_advise(self.session.pointer, ffi.cast("void *", address), length, self._advice(advice).struct))

    def advice(self, offset=0):
        """What counts at one address."""
        address, _ = self._part(offset, 0)
        found = Options("svmd_advice")
        check(lib.svmd_advice_query(self.session.pointer, ffi.cast("void *", address), found.struct))
        return row(found.struct)

    def residency(self, offset=0, length=None, counters=False):
        """Where it lies, in runs; with `counters` a row a granule."""
        address, length = self._part(offset, length)
        return rows("svmd_residency_fn", lambda fn, data: lib.svmd_query_residency(
            self.session.pointer, ffi.NULL, address, length, counters, fn, data))

    def explain(self, offset=0):
        """Why things at an address are as they are: `sentences`, `history`, `touches`, `hints` ..."""
        address, _ = self._part(offset, 0)
        return rows("svmd_explain_fn", lambda fn, data: lib.svmd_explain(
            self.session.pointer, ffi.NULL, address, fn, data))[0]

    # ---- all kinds ----

    def info(self):
        found = Options("svmd_address_info")
        check(lib.svmd_address_query(self.session.pointer, ffi.cast("void *", self.address), found.struct))
        return row(found.struct)

    def free(self):
        """Gives it back, or closes what another owns. BufferError while a view of it lives."""
        if self.size:
            self._no_views("freed")
            check(lib.svmd_address_free(self.session.pointer, ffi.cast("void *", self.address)))
            self.size = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.free()

    def __len__(self):
        return self.size

    def _part(self, offset, length):
        if length is None:
            length = self.size - offset
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes from {offset} on are not in a reservation of {self.size}")
        return self.address + offset, length

    def _move(self, function, offset, length, wait, *node):
        address, length = self._part(offset, length)
        return started(self.session.core, lambda fence: function(
            self.session.pointer, fence, ffi.cast("void *", address), length, *node), wait)

    def _whole(self, function, wait):
        return started(self.session.core, lambda fence: function(
            self.session.pointer, fence, ffi.cast("void *", self.address)), wait)

    def _no_views(self, what):
        if self._views:
            raise BufferError(f"{self._views} views of this reservation are in use; it can be {what} when they are gone")

    def _advice(self, wishes):
        options, node = Options("svmd_advice"), self.session.node
        for name, value in wishes.items():
            if name not in ADVICE:
                raise TypeError(f"there is no advice {name!r}; there are: {', '.join(ADVICE)}")
            options.struct.what |= ADVICE[name]
            if name == "preferred":
                value = NODE_NONE if value is None else node(value)
            elif name == "accessed_by":
                value = sum({1 << node(one) for one in value})
            elif name == "fallback":
                value = [node(one) for one in value]
                options.struct.fallbacks = len(value)
            setattr(options.struct, name, value)
        return options


def _accessible(address, length, write):
    """Whether this process may read, or write, all of a range now."""
    at, end = address, address + length
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, rights = line.split(" ", 2)[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if high <= at:
                continue
            if at >= end or low > at or rights[0] != "r" or (write and rights[1] != "w"):
                break
            at = high
    return at >= end


def reserve(session, size, name, kind, granule, mode, flags, alignment, address):
    """svmd_address_reserve()."""
    options = Options("svmd_reserve_options", name=name, kind=kind, granule=granule, mode=mode, flags=flags)
    found = ffi.new("void **")
    check(lib.svmd_address_reserve(session.pointer, found, size, alignment, ffi.cast("void *", address or 0),
                                   options.struct))
    return Reservation(session, int(ffi.cast("uintptr_t", found[0])), size, True)


def open_named(session, name, access):
    """svmd_address_open()."""
    found, size = ffi.new("void **"), ffi.new("size_t *")
    check(lib.svmd_address_open(session.pointer, found, size, text(name), access))
    return Reservation(session, int(ffi.cast("uintptr_t", found[0])), size[0], access == lib.SVMD_ACCESS_READ_WRITE)
