"""What goes on by itself, and how it ended."""
from ._library import Error, Status, check, ffi, lib
from ._rows import row


class Fence:
    """An operation under way. It goes on when its fence is forgotten."""

    def __init__(self, core, pointer):
        self._core = core  # a fence is of use as long as its session is
        self._pointer = ffi.gc(pointer, lambda p: core.alive and lib.svmd_fence_free(p))

    def wait(self, timeout=None):
        """Waits for the end, at most `timeout` seconds (None: for ever), and returns its row: `value`, `address`. How
        the operation failed is raised; TimeoutError when it has not ended yet. As often as you like."""
        self._core.check()
        result = ffi.new("struct svmd_fence_result *")
        milliseconds = -1 if timeout is None else max(0, min(int(timeout * 1000), 0x7fffffff))
        code = lib.svmd_fence_wait(self._pointer, milliseconds, result)
        if code == Status.TIMEOUT:
            raise TimeoutError(f"not done after {timeout} s")
        check(code)
        return row(result)

    def done(self):
        """Whether it has ended, well or not."""
        try:
            self.wait(0)
        except TimeoutError:
            return False
        except Error:
            return True
        return True


def started(core, call, wait):
    """Runs a function with a fence: waits for its end, or returns the fence."""
    core.check()
    fence = ffi.new("svmd_fence **")
    check(call(fence))
    found = Fence(core, fence[0])
    return found.wait() if wait else found
