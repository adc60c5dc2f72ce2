"""Shared addresses over processes and devices: libsvmd from Python.

    import numpy, svmd

    with svmd.connect(partition="lab") as session:
        index = session.reserve(1 << 30, name="index")
        words = index.array(numpy.uint64)       # a view of the range itself, no copy
        words[:] = 1
        index.prefetch("gpu0")                  # to where it is needed next
        print(index.residency())

What a function of libsvmd(3) would return as a code is raised as svmd.Error. The constants of svmd.h are here without
their SVMD_: svmd.ACCESS_READ, svmd.E_NO_ROOM, svmd.RANGE_HUGE. Rows of queries are objects with the fields of the
struct that svmd.h documents. Sizes are bytes. A node is its number or its name.

Threads may share all of this, as libsvmd says; calls that wait let other threads run. After os.fork() the child
connects anew.
"""
from ._library import NODE_CPU, NODE_NONE, Error, Status, lib, version
from ._memory import Memory, Space
from ._fence import Fence
from ._range import Reservation
from ._session import Session, connect

__all__ = ["Error", "Fence", "Memory", "NODE_CPU", "NODE_NONE", "Reservation", "Session", "Space", "Status", "connect",
           "version"]


def __getattr__(name):
    if name.isupper():
        try:
            return getattr(lib, "SVMD_" + name)
        except AttributeError:
            pass
    raise AttributeError(f"module 'svmd' has no attribute {name!r}")
