"""What the demo shows: steps as they end, then a table of everything that was compared.

The rows are named before anything runs. A row is right only if it was compared, with something expected that is not
empty, so a step that was left out, or that compared nothing with nothing, is a failure.
"""
import itertools
import json
import shutil
import sys

WIDTH = 30  # of what was expected and got, in the table; wrong rows are shown in full


class Board:
    def __init__(self, plan, out=sys.stdout):
        self.plan = dict(plan)
        self.rows = {}
        self.out = out
        self.live = out.isatty()
        self.shown = False
        symbols = "✓✗·"
        try:
            symbols.encode(out.encoding or "ascii")
        except UnicodeEncodeError:
            symbols = "+!-"
        self.right, self.wrong, self.plain = symbols

    def _clear(self):
        if self.shown:
            self.out.write("\r\x1b[K")
            self.shown = False

    def _line(self, mark, colour, text):
        self._clear()
        if self.live:
            mark = f"\x1b[{colour}m{mark}\x1b[0m"
        self.out.write(f"{mark} {text}\n")
        self.out.flush()

    def progress(self, text):
        """What goes on now; only a terminal shows it, in a line that the next one replaces."""
        if self.live:
            self._clear()
            self.out.write(text[:shutil.get_terminal_size().columns - 1])
            self.out.flush()
            self.shown = True

    def note(self, text):
        self._line(self.plain, 90, text)

    def error(self, text):
        self._line(self.wrong, 31, text)

    def check(self, row, expected, got):
        """Records one comparison; each row takes exactly one."""
        if row not in self.plan or row in self.rows:
            raise ValueError(f"the row '{row}' is not planned, or was compared before")
        ok = expected == got and not is_empty(expected)
        self._record(row, expected, got, ok)
        return ok

    def check_released(self, row, held, left):
        """That everything went: `held` is what there was, and must not have been nothing; `left` is what remains."""
        if row not in self.plan or row in self.rows:
            raise ValueError(f"the row '{row}' is not planned, or was compared before")
        self._record(row, f"0 of {held}", f"{left} of {held}", held > 0 and left == 0)

    def _record(self, row, expected, got, ok):
        self.rows[row] = (expected, got, ok)
        if ok:
            self._line(self.right, 32, f"{self.plan[row]}: {clipped(brief(got), 2 * WIDTH)}")
        else:
            self._line(self.wrong, 31, f"{self.plan[row]}: {brief(got)}, not {brief(expected)}")

    @property
    def ok(self):
        return bool(self.plan) and all(row in self.rows and self.rows[row][2] for row in self.plan)

    def table(self):
        cells = [("", "step", "expected", "got")]
        for row, title in self.plan.items():
            expected, got, ok = self.rows.get(row, ("", "not compared", False))
            texts = (brief(expected), brief(got))
            cells.append((self.right if ok else self.wrong, title,
                          *(clipped(text, WIDTH) if ok else text for text in texts)))
        widths = [max(len(row[column]) for row in cells) for column in range(4)]
        for row in cells:
            self.out.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n")
        self.out.flush()

    def as_json(self, **more):
        rows = [{"row": row, "step": title, **dict(zip(("expected", "got", "ok"),
                                                       self.rows.get(row, (None, None, False))))}
                for row, title in self.plan.items()]
        return json.dumps({**more, "ok": self.ok, "rows": rows}, indent=2, default=list) + "\n"


def clipped(text, width):
    return text if len(text) <= width else text[:width - 3] + "..."


def brief(value):
    """A value as a person reads it: large numbers as addresses, equal neighbours counted."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value < 1 << 36 else f"{value:#x}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {brief(item)}" for key, item in value.items())
    if isinstance(value, (list, set)):
        groups = [(text, len(list(items))) for text, items in itertools.groupby(map(brief, value))]
        return ", ".join(text if count == 1 else f"{count} x {text}" for text, count in groups)
    if isinstance(value, tuple):
        return " ".join(map(brief, value))
    return str(value)


def is_empty(value):
    """Nothing, zero, or made of nothing but such."""
    if isinstance(value, dict):
        return is_empty(list(value.values()))
    if isinstance(value, (list, tuple, set)):
        return all(is_empty(item) for item in value)
    return not value
