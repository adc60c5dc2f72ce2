"""libsvmd itself, and what is the same for all calls: errors, strings, options."""
import enum
import re

import cffi

from ._declarations import CDEF

ffi = cffi.FFI()
ffi.cdef(CDEF)
lib = ffi.dlopen("libsvmd.so.1")

NODE_NONE = 0xffffffff
NODE_CPU = 0xfffffffe

Status = enum.IntEnum("Status", [("OK", 0)] + [(name, int(number)) for name, number in
                                               re.findall(r"SVMD_E_(\w+) = (\d+)", CDEF)])
Status.__doc__ = "The codes of svmd.h, SVMD_E_NO_ROOM as Status.NO_ROOM."


class Error(Exception):
    """What svmd refused, in its own words. `code` is a Status."""

    def __init__(self, code, text):
        super().__init__(text)
        try:
            self.code = Status(code)
        except ValueError:  # of an svmd that is newer
            self.code = code

    def __str__(self):
        return f"{getattr(self.code, 'name', self.code)}: {self.args[0]}"


def version():
    """The version of libsvmd, "0.1.0"."""
    return ffi.string(lib.svmd_version()).decode()


def check(code):
    """Raises what a call of this thread returned, unless it was done."""
    if code != 0:
        raise Error(code, ffi.string(lib.svmd_error()).decode(errors="replace"))


class Options:
    """A struct of options with its size, and what its pointers point to for as long as it lives."""

    def __init__(self, struct, **fields):
        self.struct = ffi.new(f"struct {struct} *")
        self._held = []
        if "size" in dir(self.struct):
            self.struct.size = ffi.sizeof(self.struct[0])
        for name, value in fields.items():
            if value is not None:
                setattr(self.struct, name, self._value(value))

    def _value(self, value):
        if isinstance(value, (str, bytes)):
            value = ffi.new("char[]", text(value))
            self._held.append(value)
        return value

    def hold(self, value):
        self._held.append(value)
        return value


def text(value):
    """A string as C has it; NULL for None."""
    if value is None:
        return ffi.NULL
    if isinstance(value, str):
        value = value.encode()
    if b"\0" in value:
        raise ValueError(f"{value!r} has a zero byte in it")
    return value
