#!/usr/bin/env python3
"""The demo's view from outside: which words it asks for, and what it reads of other processes."""
import os
import tempfile
import unittest

from machine import parse_line
from oracle import Grep, choose_words, file_bytes, text_size


class ChooseWordsTest(unittest.TestCase):
    def check(self, known, count, seed=5):
        words, absent = choose_words(known, count, seed)
        self.assertEqual(len(words), count)
        self.assertEqual(len(set(words)), count)
        self.assertEqual(sum(word not in known for word in words), absent)
        self.assertGreaterEqual(absent, count // 20)
        present = [sum(word in known for word in words[i::2]) for i in (0, 1)]
        self.assertLessEqual(abs(present[0] - present[1]), 1)
        return words, absent

    def test_large(self):
        known = {f"word{i}": i for i in range(1, 100000)}
        words, absent = self.check(known, 1000)
        self.assertEqual(absent, 50)
        self.assertEqual((words, absent), choose_words(known, 1000, 5))
        self.assertNotEqual(words, choose_words(known, 1000, 6)[0])
        self.assertGreater(sum(known.get(word, 0) > 97000 for word in words), 250)

    def test_half_of_the_absent_are_parts_of_words(self):
        known = {f"longword{i}x": 1 for i in range(5000)}
        words, absent = self.check(known, 1000)
        self.assertEqual(sum(word not in known and word + "x" in known for word in words), absent // 2)

    def test_small(self):
        for size in (1, 2, 30, 949, 950, 951, 1000, 1001):
            self.check({f"w{i}": 1 for i in range(size)}, 1000)

    def test_no_word_is_too_long_for_a_command_line(self):
        words, _ = self.check({"a" * 200000: 1, "b": 1}, 20)
        self.assertNotIn("a" * 200000, words)


class OutsideTest(unittest.TestCase):
    def test_parse_line(self):
        self.assertEqual(parse_line("refused what=open code=DENIED text=a = b c"),
                         ("refused", {"what": "open", "code": "DENIED", "text": "a = b c"}))
        self.assertEqual(parse_line("answer word=0x10 at=0x1000 lines=3"),
                         ("answer", {"word": "0x10", "at": 4096, "lines": 3, "text": ""}))
        self.assertEqual(parse_line("done"), ("done", {"text": ""}))

    def test_file_bytes(self):
        fd = os.memfd_create("demo-test")
        copy = os.dup(fd)
        try:
            os.ftruncate(fd, 1 << 20)
            self.assertEqual(file_bytes(os.getpid())["demo-test"], 0)
            os.pwrite(fd, b"x" * 8192, 65536)
            self.assertEqual(file_bytes(os.getpid())["demo-test"], 8192)
        finally:
            os.close(fd)
            os.close(copy)

    def test_grep(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("a", "one two\none\n"), ("b", "one-three\n"), ("c", "ones\n")):
                with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                    file.write(text)
            os.symlink("a", os.path.join(folder, "link"))
            self.assertEqual(text_size(folder), 27)
            grep = Grep(["one", "three", "none"], folder)
            seen = []
            results = grep.results(lambda done, of: seen.append((done, of)))
            grep.stop()
        self.assertEqual(results, {"one": (3, 2, 3, False), "three": (1, 1, 3, False), "none": (0, 0, 3, False)})
        self.assertEqual(seen, [(1, 3), (2, 3), (3, 3)])


if __name__ == "__main__":
    unittest.main()
