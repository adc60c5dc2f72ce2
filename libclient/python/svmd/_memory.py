"""Memory objects, and the address spaces of devices."""
from ._fence import started
from ._library import Options, check, ffi, lib, text


class Memory:
    """Memory on one node, which reservations and spaces can show. Its session's end releases it too."""

    def __init__(self, session, handle, size):
        self._session, self.handle, self.size = session, handle, size

    def release(self):
        """Drops the handle. The memory goes when nothing shows it and nobody else imported it."""
        if self.handle:
            check(lib.svmd_mem_release(self._session.pointer, self.handle))
            self.handle = 0

    def export(self, name, mode=0):
        """Makes it importable by name, within the partition."""
        check(lib.svmd_mem_export(self._session.pointer, self.handle, text(name), mode))

    def export_fd(self, access=lib.SVMD_ACCESS_READ_WRITE):
        """A token to pass on: a descriptor, the caller's."""
        fd = ffi.new("int *")
        check(lib.svmd_mem_export_fd(self._session.pointer, fd, self.handle, access))
        return fd[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Space:
    """An address space of a device, and operations that the device runs in it."""

    def __init__(self, session, node):
        self._session = session
        found = ffi.new("svmd_space *")
        check(lib.svmd_space_create(session.pointer, found, session.node(node)))
        self.handle = found[0]

    def map(self, memory, address, size=None, offset=0, access=lib.SVMD_ACCESS_READ_WRITE, replace=False):
        """Shows memory at an address, usually that of a reservation that shows it to the CPU."""
        check(lib.svmd_mem_map(self._session.pointer, self.handle, address, memory.size - offset if size is None else size,
                               offset, memory.handle, access, lib.SVMD_MAP_REPLACE if replace else 0))

    def unmap(self, address, size):
        """When it returns, no operation of the device uses the old translation any more."""
        check(lib.svmd_mem_unmap(self._session.pointer, self.handle, address, size))

    def submit(self, op, dst=0, src=0, length=0, value=0, wait=True):
        """Runs svmd.DEVICE_FILL, _COPY, _COMPARE, _SUM, _CHASE or _ATOMIC_ADD on the device; returns the row of its end
        (`value`, `address`), or a Fence where `wait` is false."""
        options = Options("svmd_device_op", op=op, space=self.handle, dst=dst, src=src, length=length, value=value)
        session = self._session
        return started(session.core, lambda fence: lib.svmd_submit(session.pointer, fence, options.struct), wait)

    def destroy(self):
        if self.handle:
            check(lib.svmd_space_destroy(self._session.pointer, self.handle))
            self.handle = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()
