#!/usr/bin/env python3
"""The tests that tables of the documentation name exist.

A name in the last column of a table row, as `GROUP_UNIT` or `GROUP_UNIT CASE`, is tests/GROUP/test_UNIT.c (or .py) or
stands in an add_test() of tests/GROUP; the case is a function or a text in that source.
"""
import os
import re
import sys

DOCUMENTS = ["docs/xe-list.md", "docs/operations.md"]
NAME = re.compile(r"`([a-z]+)_(\w+)(?: (\w+))?`")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def source_of(group, unit):
    for suffix in (".c", ".py"):
        path = f"tests/{group}/test_{unit}{suffix}"
        if os.path.exists(path):
            return path
    return None


def complaint(group, unit, case):
    """None: the test exists."""
    source = source_of(group, unit)
    if source is None:
        lists = f"tests/{group}/CMakeLists.txt"
        if case is None and os.path.exists(lists) and re.search(rf"add_test\(NAME {group}_{unit}\b", read(lists)):
            return None
        return "there is no such test"
    if case is not None and not re.search(rf"\b{case}\(|\"{case}\"", read(source)):
        return f"{source} has no case {case}"
    return None


def last_column(line):
    return line.rstrip().rstrip("|").rsplit("|", 1)[-1] if line.startswith("|") else ""


def check(document, text):
    """Complaints, and how many names were looked up."""
    found, count = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        for group, unit, case in NAME.findall(last_column(line)):
            if not os.path.isdir(f"tests/{group}"):
                continue
            count += 1
            why = complaint(group, unit, case or None)
            if why:
                found.append(f"{document}:{number}: `{group}_{unit}{' ' + case if case else ''}`: {why}")
    return found, count


def self_test():
    good = "| a | `system_kill`, `mover_share test_remap` |"
    bad = "| a | `system_nothing` |\n| b | `mover_share test_nothing` |\n| `system_nothing` | not the last column |"
    assert check("good", good) == ([], 2), check("good", good)
    assert len(check("bad", bad)[0]) == 2, check("bad", bad)


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    self_test()
    failed = False
    for document in DOCUMENTS:
        found, count = check(document, read(document))
        print(f"{document}: {count} tests named")
        for line in found:
            print(line)
        failed = failed or bool(found) or count == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
