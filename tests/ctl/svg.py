#!/usr/bin/env python3
"""svg.py PROGRAM FILE...: the pictures that PROGRAM (ctl_map_svg FOLDER) draws are well-formed, lie within their page, and say what
was to be said, also where a program has called itself something that is no text. So are the FILEs, of the documentation."""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

NS = "{http://www.w3.org/2000/svg}"


def check(condition, what):
    if not condition:
        sys.exit(what)


def numbers(element, *names):
    return [float(element.get(name, 0)) for name in names]


def page_of(path):
    root = xml.etree.ElementTree.parse(path).getroot()
    width, height = numbers(root, "width", "height")
    shapes = [e for e in root.iter(f"{NS}rect") if e.get("x")]
    for e in shapes:
        x, y, w, h = numbers(e, "x", "y", "width", "height")
        check(x >= 0 and y >= 0 and w >= 0 and x + w <= width + 1 and y + h <= height,
              f"{path}: a shape beyond the page: {e.attrib}")
    texts = list(root.iter(f"{NS}text"))
    for e in texts:
        x, y = numbers(e, "x", "y")
        check(0 <= x <= width and 0 <= y <= height, f"{path}: text beyond the page: {e.text}")
    return root, shapes, [e.text for e in texts], [e.text for e in root.iter(f"{NS}title")], height


def overlaps(shapes):
    """Boxes of reservations do not cover one another."""
    rows = {}
    for e in shapes:
        if e.get("class") == "edge":
            x, y, w = numbers(e, "x", "y", "width")
            rows.setdefault(y, []).append((x, x + w))
    for row in rows.values():
        row.sort()
        for (_, end), (begin, _) in zip(row, row[1:]):
            check(begin >= end - 0.11, f"boxes overlap: {end} and {begin}")
    return sum(len(row) for row in rows.values())


def main():
    for path in sys.argv[2:]:
        xml.etree.ElementTree.parse(path)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True, timeout=60)
        names = sorted(os.listdir(folder))
        check(names == ["hostile.svg", "many.svg", "none.svg", "one.svg"], f"drawn: {names}")
        _, shapes, texts, titles, _ = page_of(f"{folder}/one.svg")
        check(overlaps(shapes) == 3, "one.svg: not a box a reservation")
        check("train" in texts and "index" in texts, f"one.svg: {texts}")
        check(any(t.startswith("gpu0 25 MiB") for t in texts), f"one.svg: the legend says {texts}")
        check(any("on host0" in t and "24 MiB" in t for t in titles), f"one.svg: {titles}")
        fills = {e.get("fill") for e in shapes if (e.get("fill") or "").startswith("#")}
        check(len(fills) >= 3, f"one.svg: {fills}")
        _, shapes, texts, titles, height = page_of(f"{folder}/many.svg")
        check(overlaps(shapes) == 2 * 1980, "many.svg: not a box a reservation")
        check("20 partitions without reservations" in texts, "many.svg: the empty ones are not told")
        check(height < 12000, f"many.svg is {height} high")
        check(sum(t.startswith("p0007:") for t in titles) == 2, "many.svg: a partition has no title")
        fills = {e.get("fill") for e in shapes if e.get("fill")}
        check(any(re.match(r"url\(#s\d\)", fill) for fill in fills), "many.svg: the ninth node looks like the first")
        _, _, texts, titles, _ = page_of(f"{folder}/hostile.svg")
        check(any("</text><script>&\"'" in t for t in texts + titles), f"hostile.svg: {titles}")
        check(not any(re.search("[\x00-\x08\x0b-\x1f\x7f]", t) for t in texts + titles), "hostile.svg: control characters")
        _, _, texts, _, _ = page_of(f"{folder}/none.svg")
        check(any(t.startswith("0 partitions") for t in texts), f"none.svg: {texts}")
    print("pictures are as they should be")


if __name__ == "__main__":
    main()
