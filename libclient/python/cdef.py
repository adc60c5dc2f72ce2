#!/usr/bin/env python3
"""Writes what cffi has to know of libsvmd, out of svmd.h: the binding declares nothing by itself that could differ.

usage: cdef.py SVMD_H > _declarations.py
"""
import re
import sys


def declarations(text):
    """The header without what is for a C compiler alone; macros with a number stay."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r'#ifdef __cplusplus\n.*?#endif\n', "", text, flags=re.S)
    numbers = [f"#define {name} {value}" for name, value in
               re.findall(r"^#define (SVMD_\w+)\s+(\d+)(?:u?ll)?\s*$", text, flags=re.M)]
    code = [line.rstrip() for line in text.split("\n") if not line.startswith("#")]
    return "\n".join(numbers + [line for line in code if line]) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="ascii") as header:
        print('"""Made from svmd.h."""\nCDEF = """\\\n' + declarations(header.read()) + '"""')
