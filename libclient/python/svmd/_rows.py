"""Rows of queries as Python objects.

A struct becomes an object with its fields: numbers as they are, strings as str, what it points to as another such
object or, where there is a field of the same name with _count behind it, as a list. So what svmd.h adds is here too.
"""
import types

from ._library import check, ffi


class Row(types.SimpleNamespace):
    """Fields as attributes; dict(vars(row)) for all of them."""


def row(struct):
    """A copy of a struct, or of what a pointer to one points to."""
    kind = ffi.typeof(struct)
    if kind.kind == "pointer":
        return row(struct[0])
    fields = [name for name, _ in kind.fields]
    return Row(**{name: _field(struct, name, fields) for name in fields
                  if name.removesuffix("_count") not in fields or not name.endswith("_count")})


def _field(struct, name, fields):
    value = getattr(struct, name)
    if not isinstance(value, ffi.CData):
        return value
    kind = ffi.typeof(value)
    if kind.kind == "array" and kind.item.cname == "char":
        return ffi.string(value).decode(errors="replace")
    if kind.kind == "array":
        return [_item(one) for one in value]
    if kind.kind != "pointer":
        return row(value)
    if name + "_count" in fields:
        return [_item(value[i]) for i in range(getattr(struct, name + "_count"))]
    return _item(value)


def _item(value):
    if not isinstance(value, ffi.CData):
        return value
    kind = ffi.typeof(value)
    if kind.kind == "pointer" and not value:
        return None
    if kind.cname in ("char *", "char const *"):
        return ffi.string(value).decode(errors="replace")
    if kind.kind == "pointer" and kind.item.kind != "struct":
        return int(ffi.cast("uintptr_t", value))
    return row(value)


def rows(callback_type, call):
    """All rows that a query hands to its callback, as a list; `call` gets the callback and the userdata."""
    found, failed = [], []

    def take(one, _):
        try:
            found.append(row(one))
            return 0
        except Exception as error:  # pylint: disable=broad-except
            failed.append(error)
            return 1

    callback = ffi.callback(callback_type, take)
    code = call(callback, ffi.NULL)
    if failed:
        raise failed[0]
    check(code)
    return found
