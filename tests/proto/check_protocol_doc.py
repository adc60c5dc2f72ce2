#!/usr/bin/env python3
"""Compares docs/protocol.md with what it is about: every message and enum with proto/svmd.proto, codes with
proto/status.h, bounds with proto/limits.h, states and causes of granules with proto/range.h, operations with
daemon/service/table.c, the bytes of its example with their reading, and the table of codes in docs/man/svmd.protocol.7.

    check_protocol_doc.py [ROOT]       prints what differs; ends with 1 if anything does
    check_protocol_doc.py --self-test  breaks a copy of the page in every way, and sees that it is found
"""
import os
import re
import shutil
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE, MAN = "docs/protocol.md", "docs/man/svmd.protocol.7"
SOURCES = ("proto/svmd.proto", "proto/status.h", "proto/limits.h", "proto/range.h", "daemon/service/table.c")
NUMBERS = ("uint32", "uint64", "bool")


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8") as file:
        return file.read()


# ---- sources ----

def parse_proto(text):
    """{message: {number: (name, type)}}, {enum: {value: name}}; a list has the type "list of TYPE"."""
    messages, enums = {}, {}
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"oneof\s+\w+\s*\{([^}]*)\}", r"\1", text)
    for kind, name, body in re.findall(r"\b(message|enum)\s+(\w+)\s*\{([^}]*)\}", text):
        if kind == "enum":
            enums[name] = {int(value): label for label, value in re.findall(r"(\w+)\s*=\s*(\d+)\s*;", body)}
            continue
        messages[name] = {int(number): (field, ("list of " if repeated else "") + of) for repeated, of, field, number
                          in re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", body)}
    return messages, enums


def parse_status(text):
    return {int(number): (name, sentence) for name, number, sentence
            in re.findall(r'X\((\w+),\s*(\d+),\s*"([^"]*)"\)', text)}


def parse_limits(text):
    found = {}
    for name, value in re.findall(r"#define\s+(SVMD_\w+)\s+(\(?[^/\n]+)", text):
        value = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]*\b", r"\1", value).strip()
        if not re.fullmatch(r"[0-9a-fA-Fx()*< ]+", value):
            raise ValueError(f"{name} is no plain number: {value}")
        found[name] = eval(value)  # pylint: disable=eval-used  # digits, brackets, * and << only, as just checked
    return found


def parse_operations(text):
    """{name: (needs, alone, changes)}"""
    found = {}
    for name, flags in re.findall(r'ROW\(\w+,\s*"(\w+)",\s*([^,]+),\s*op_\w+\)', text):
        flags = set(re.findall(r"OP_\w+", flags))
        needs = ("reading" if "OP_READS" in flags else "administration" if "OP_ADMIN" in flags else "a partition" if "OP_ATTACHED" in flags
                 else "nothing" if "OP_FIRST" in flags else "hello")
        found[name] = (needs, "yes" if "OP_ALONE" in flags else "no", "yes" if "OP_CHANGES" in flags else "no")
    return found


# ---- the page ----

def cells(line):
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def parse_page(text):
    """{heading: [rows of its table, without head]}; a heading without a table has no rows."""
    tables, heading = {}, None
    for line in text.splitlines():
        match = re.match(r"#+ `?(.*?)`?$", line)
        if match:
            heading = match[1]
            if heading in tables:
                raise ValueError(f"the heading {heading} is there twice")
            tables[heading] = []
        elif heading and line.startswith("|"):
            tables[heading].append(cells(line))
    return {heading: rows[2:] for heading, rows in tables.items()}


def parse_examples(text):
    return [(message, bytes.fromhex(re.sub(r"#[^\n]*", "", code)), reading.strip().splitlines()) for message, code, reading
            in re.findall(r"```hex (\w+)\n(.*?)```.*?```text\n(.*?)```", text, re.S)]


def parse_man(text):
    return {int(number): name for number, name in re.findall(r"^\.It (\d+) Ta Dv (\w+) Ta", text, re.M)}


# ---- decoding, by the .proto ----

def take_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def reading(messages, message, data, path=""):
    """The lines that a person would write down for these bytes."""
    lines, at = [], 0
    while at < len(data):
        key, at = take_varint(data, at)
        value, at = take_varint(data, at)
        name, of = messages[message][key >> 3]
        of = of.replace("list of ", "")
        if key & 7 == 0:
            lines.append(f"{path}{name}: {value}")
            continue
        part, at = data[at:at + value], at + value
        if len(part) != value:
            raise ValueError(f"{path}{name} is cut short")
        lines += [f'{path}{name}: "{part.decode()}"'] if of == "string" else reading(messages, of, part,
                                                                                    f"{path}{name}.")
    return lines


# ---- comparing ----

def differences(what, wanted, found):
    for key in sorted(set(wanted) | set(found), key=str):
        if wanted.get(key) != found.get(key):
            yield f"{what} {key}: the source says {wanted.get(key, 'nothing')}, the page says {found.get(key, 'nothing')}"


def compare_messages(messages, enums, tables):
    headings = {name for name in tables if re.fullmatch(r"[A-Z][a-z]\w*", name)} & set(messages | enums)
    for name in sorted(set(messages | enums) - headings):
        yield f"{name} has no heading"
    for name in sorted(headings & set(messages)):
        yield from differences(name, messages[name], {int(row[0]): (row[1], row[2]) for row in tables[name]})
    for name in sorted(headings & set(enums)):
        yield from differences(name, enums[name], {int(row[0]): row[1] for row in tables[name]})


def compare_known(tables, messages, enums, head):
    """Headings of fields that no source has."""
    for name in re.findall(r"^### `(\w+)`", head, re.M):
        if name not in messages and name not in enums:
            yield f"{name} is on the page and in no source"
    for name in tables:
        for row in tables[name] if name in messages else ():
            of = row[2].replace("list of ", "")
            if of not in messages and of not in enums and of not in NUMBERS + ("string",):
                yield f"{name}.{row[1]} has an unknown type {of}"


def compare_range(text, rows):
    """What the page calls the numbers of a run's state and cause."""
    for field, name in (("state", "STATES"), ("cause", "CAUSES")):
        body = re.search(r"#define RANGE_" + name + r"\(X\)((?:.*\\\n)*.*)", text)[1]
        wanted = {int(number): word for number, word in re.findall(r'X\(\w+,\s*(\d+),\s*"(\w+)"\)', body)}
        meaning = next((row[3] for row in rows if row[1] == field), "")
        yield from differences(field, wanted, {int(number): word for number, word in re.findall(r"(\d+) (\w+)", meaning)})


def compare_bounds(limits, tables, page):
    rows = {row[0]: row[1] for row in tables["Bounds"]}
    wanted = {"bytes of a packet": "SVMD_PACKET_MAX", "operations of a request": "SVMD_OPS_MAX",
              "file descriptors of a packet": "SVMD_FDS_MAX", "bytes of a string in a request": "SVMD_NAME_MAX",
              "rows of a list in a result": "SVMD_ROWS_MAX", "size of a partition is a multiple of": "SVMD_PARTITION_UNIT"}
    yield from differences("bound", {text: str(limits[name]) for text, name in wanted.items()},
                           {text: rows.get(text) for text in wanted})
    for name in ("SVMD_PRIMARY_START", "SVMD_PRIMARY_END", "SVMD_LOW_START", "SVMD_LOW_END"):
        if f"{limits[name]:#x}" not in page:
            yield f"{name}, {limits[name]:#x}, is not on the page"
    if not page.startswith(f"# The wire protocol of svmd, version {limits['SVMD_PROTOCOL_VERSION']}\n"):
        yield f"the title does not name version {limits['SVMD_PROTOCOL_VERSION']}"


def compare_examples(messages, page):
    examples = parse_examples(page)
    if len(examples) < 2:
        yield "a request and a reply in bytes are not on the page"
    for message, data, wanted in examples:
        try:
            found = reading(messages, message, data)
        except (ValueError, KeyError, IndexError) as error:
            yield f"the example of {message} is no message: {error}"
            continue
        if found != wanted:
            yield f"the example of {message} reads {found}, and the page says {wanted}"


def compare(root):
    page = read(root, PAGE)
    messages, enums = parse_proto(read(root, "proto/svmd.proto"))
    codes = parse_status(read(root, "proto/status.h"))
    tables = parse_page(page)
    yield from compare_messages(messages, enums, tables)
    yield from compare_known(tables, messages, enums, page)
    yield from differences("code", codes, {int(row[0]): (row[1], row[2]) for row in tables["Codes"]})
    yield from differences("code in the manual", {number: name for number, (name, _) in codes.items()},
                           parse_man(read(root, MAN)))
    yield from differences("operation", parse_operations(read(root, "daemon/service/table.c")),
                           {row[0]: tuple(row[1:4]) for row in tables["Operations"]})
    yield from compare_range(read(root, "proto/range.h"), tables["Run"])
    yield from compare_bounds(parse_limits(read(root, "proto/limits.h")), tables, page)
    yield from compare_examples(messages, page)


# ---- the test of the test ----

BREAKS = [
    ("a number", PAGE, "| 7 | `notify` | bool", "| 8 | `notify` | bool"),
    ("a name", PAGE, "| 2 | `mode` | Mode", "| 2 | `modus` | Mode"),
    ("a type", PAGE, "| 3 | `ops` | list of Op", "| 3 | `ops` | Op"),
    ("a field that is missing", PAGE, "| 12 | `dropped_events` | uint64 | |\n", ""),
    ("an enum's value", PAGE, "| 2 | `DRY_RUN`", "| 3 | `DRY_RUN`"),
    ("a message that is missing", PAGE, "### `EpochEvent`", "### `Epoch`"),
    ("a code", PAGE, "| 15 | `NO_ROOM`", "| 15 | `NOROOM`"),
    ("a code's sentence", PAGE, "the node is full", "the node is nearly full"),
    ("who may", PAGE, "| `monitor` | administration", "| `monitor` | hello"),
    ("alone", PAGE, "| `attach` | hello | yes", "| `attach` | hello | no"),
    ("a bound", PAGE, "| 131072 |", "| 131073 |"),
    ("a state of granules", PAGE, "4 out,", "4 away,"),
    ("a cause", PAGE, "6 drain", "7 drain"),
    ("a window", PAGE, "0x280000000000", "0x290000000000"),
    ("the version", PAGE, "svmd, version 1\n", "svmd, version 2\n"),
    ("a byte of the example", PAGE, "20 01 ", "20 02 "),
    ("a length of the example", PAGE, "1a 0f ", "1a 1f "),
    ("the manual's codes", MAN, ".It 21 Ta Dv QUOTA", ".It 22 Ta Dv QUOTA"),
    ("a new field", "proto/svmd.proto", "uint64 id = 1;", "uint64 id = 1; uint64 novel = 99;"),
    ("a new operation", "daemon/service/table.c", "ROW(HELLO,", 'ROW(NOVEL, "novel", 0, op_novel),\n        ROW(HELLO,'),
]


def self_test():
    missed = 0
    for what, name, old, new in BREAKS:
        with tempfile.TemporaryDirectory() as root:
            for path in (PAGE, MAN, *SOURCES):
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                shutil.copy(os.path.join(ROOT, path), os.path.join(root, path))
            text = read(root, name)
            if old not in text:
                print(f"{what}: {name} does not hold {old!r} to break")
                missed += 1
                continue
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text.replace(old, new, 1))
            if not list(compare(root)):
                print(f"{what}: changed, and not found")
                missed += 1
    print(f"{len(BREAKS) - missed} of {len(BREAKS)} breaks were found")
    return 1 if missed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    found = list(compare(sys.argv[1] if len(sys.argv) > 1 else ROOT))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
