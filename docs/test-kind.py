#!/usr/bin/env python3
"""What docs/adding-a-device-kind.md says of its example is so: less than 200 lines, its code is the file's, and its row
is the one that svmd-copier has more than svmd.

usage: test-kind.py PAGE SOURCE KINDS KINDS_OF_EXAMPLE"""
import re
import sys

MOST = 200


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def wrong(page, source, kinds, more):
    lines = source.splitlines()
    if len(lines) >= MOST or "in less than 200 lines" not in page:
        yield f"the example has {len(lines)} lines, and the page says less than {MOST}"
    at = 0
    blocks = re.findall(r"^```c\n(.*?)^```", page, re.M | re.S)
    for line in "".join(blocks).splitlines():
        if line.strip() in ("", "..."):
            continue
        if line not in lines[at:]:
            yield f"the page shows what the example has not, or not there: {line}"
        else:
            at = lines.index(line, at) + 1
    if not blocks:
        yield "the page shows nothing of the example"
    rows = re.findall(r"^    (KIND\(\w+\))$", page, re.M)
    if len(rows) != 1 or more != f"{kinds}{rows[0]}\n":
        yield f"the row of the page is not the one row more: {rows}"


def main():
    found = list(wrong(*map(read, sys.argv[1:])))
    print("\n".join(found) if found else "one file and one row, as the page says")
    sys.exit(bool(found))


main()
