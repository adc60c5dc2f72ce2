#!/usr/bin/env python3
"""The table of the demo must not be right by accident."""
import io
import json
import unittest

from board import Board, is_empty


def board(*rows):
    return Board([(row, row.upper()) for row in rows], out=io.StringIO())


class BoardTest(unittest.TestCase):
    def test_right(self):
        b = board("a", "b")
        self.assertTrue(b.check("a", 3, 3))
        b.check_released("b", 10, 0)
        self.assertTrue(b.ok)
        self.assertTrue(json.loads(b.as_json(seed=1))["ok"])

    def test_nothing_planned(self):
        self.assertFalse(board().ok)

    def test_a_row_is_missing(self):
        b = board("a", "b")
        b.check("a", 3, 3)
        self.assertFalse(b.ok)
        b.table()
        self.assertIn("not compared", b.out.getvalue())
        self.assertEqual([row["ok"] for row in json.loads(b.as_json())["rows"]], [True, False])

    def test_different(self):
        b = board("a")
        self.assertFalse(b.check("a", 3, 4))
        self.assertFalse(b.ok)

    def test_nothing_equals_nothing(self):
        for nothing in (0, "", None, [], {}, [0, 0], {"gpu0": 0}, ("", [])):
            b = board("a")
            self.assertTrue(is_empty(nothing))
            self.assertFalse(b.check("a", nothing, nothing))
            self.assertFalse(b.ok)

    def test_nothing_was_held(self):
        b = board("a")
        b.check_released("a", 0, 0)
        self.assertFalse(b.ok)

    def test_something_is_left(self):
        b = board("a")
        b.check_released("a", 10, 1)
        self.assertFalse(b.ok)

    def test_unplanned_and_twice(self):
        b = board("a")
        b.check("a", 1, 1)
        for row in ("a", "b"):
            self.assertRaises(ValueError, b.check, row, 1, 1)
            self.assertRaises(ValueError, b.check_released, row, 1, 0)


if __name__ == "__main__":
    unittest.main()
