#!/usr/bin/env python3
"""terminal.py: what `tmux capture-pane -e -p` wrote (standard input) as a picture in SVG (standard output)."""

import re
import sys
import unicodedata
from xml.sax.saxutils import escape

COLUMN, LINE, MARGIN = 7.8, 16, 12
COLORS = ["#1d1f21", "#e06c60", "#8fbf5a", "#e5b84b", "#6a9fd4", "#b58bc9", "#62b8c4", "#d5d8d6"]
INK, PAPER = "#d5d8d6", "#1d1f21"


def styled(line, style):
    """(text, style) of each run; a style goes on in the next line."""
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b"):
            if part:
                yield part, dict(style)
            continue
        for code in [int(c or 0) for c in part[2:-1].split(";")]:
            if code == 0:
                style.clear()
            elif code in (1, 2, 7):
                style[{1: "bold", 2: "dim", 7: "reverse"}[code]] = True
            elif code == 22:
                style.pop("bold", None), style.pop("dim", None)
            elif code == 27:
                style.pop("reverse", None)
            elif 30 <= code <= 37:
                style["color"] = COLORS[code - 30]
            elif code == 39:
                style.pop("color", None)


def block(char, x, y):
    """Blocks as shapes: fonts leave gaps between them."""
    eighths = ord(char) - 0x2580
    if not 1 <= eighths <= 8:
        return None
    height = LINE * eighths / 8
    return f'<rect x="{x:.1f}" y="{y + LINE - height:.1f}" width="{COLUMN + 0.1:.1f}" height="{height:.1f}"'


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = 2 * MARGIN + COLUMN * max(map(len, plain))
    height = 2 * MARGIN + LINE * len(lines)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
          f'viewBox="0 0 {width:.0f} {height}" font-family="DejaVu Sans Mono,monospace" font-size="13">')
    print(f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/>')
    style = {}
    for row, line in enumerate(lines):
        x, y = MARGIN, MARGIN + row * LINE
        for text, how in styled(line, style):
            ink, paper = how.get("color", INK), None
            if how.get("reverse"):
                ink, paper = PAPER, ink
            length = COLUMN * len(text)
            if paper:
                print(f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{LINE}" fill="{paper}"/>')
            more = ' font-weight="bold"' if how.get("bold") else ""
            more += ' fill-opacity=".6"' if how.get("dim") else ""
            words = ""
            for i, char in enumerate(text):
                shape = block(char, x + i * COLUMN, y)
                if shape:
                    print(f'{shape} fill="{ink}"/>')
                words += " " if shape or unicodedata.category(char)[0] == "C" else char
            if words.strip():
                print(f'<text xml:space="preserve" x="{x:.1f}" y="{y + LINE - 4}" textLength="{length:.1f}" '
                      f'fill="{ink}"{more}>{escape(words)}</text>')
            x += length
    print("</svg>")


if __name__ == "__main__":
    main()
