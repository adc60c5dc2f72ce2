#!/usr/bin/env python3
"""test-man-groups.py SVMD_H TEMPLATE...: the pages have every function once, and the maker sees what is wrong."""
import importlib.util
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("groups", os.path.join(HERE, "man-groups.py"))
groups = importlib.util.module_from_spec(spec)
spec.loader.exec_module(groups)
HEADER, TEMPLATES = sys.argv[1], sys.argv[2:]
SMALL = """
/* ---- first ----- */

/* One.
 * Of two sentences. And (a third.) Then \\e.
 *
 * .A paragraph.
 */
struct svmd_a {
        int b; /* a comment (with a parenthesis);  */
};
int svmd_one(svmd_session *s, const char *name,
             void (*fn)(void));
const char *svmd_two(void);

/* ---- second ---- */
int svmd_three(int a);
"""


class Groups(unittest.TestCase):
    def test_every_function_is_in_one_page(self):
        with open(HEADER, encoding="utf-8") as file:
            text = file.read()
        found = groups.links(groups.sections_of(text), TEMPLATES)
        self.assertEqual(text.count("int svmd_migrate("), 1)
        self.assertEqual(found["svmd_migrate"], "svmd_managed")
        self.assertEqual(found["svmd_error"], "libsvmd")
        names = {name for _, name, _ in groups.prototypes(text)}
        self.assertGreater(len(names), 100)
        self.assertEqual(names, set(found))

    def test_a_section(self):
        section = groups.sections_of(SMALL)["first"]
        self.assertEqual([name for _, name, _ in groups.prototypes(section)], ["svmd_one", "svmd_two"])
        self.assertEqual(groups.names(section), ".Nm svmd_one ,\n.Nm svmd_two")
        lines = groups.reference(section).split("\n")
        self.assertEqual(lines[:6], ["One.", "Of two sentences.", "And (a third.)", "Then \\ee.",
                                     ".Pp", "\\&.A paragraph."])
        self.assertIn("    int b; /* a comment (with a parenthesis);  */", lines)

    def test_what_is_wrong_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            template = os.path.join(folder, "svmd_x.3.in")

            def write(text):
                with open(template, "w", encoding="utf-8") as file:
                    file.write(text)
                return groups.sections_of(SMALL)

            with self.assertRaisesRegex(groups.Wrong, "no page has svmd_three"):
                groups.links(write("@NAMES first@\n"), [template])
            with self.assertRaisesRegex(groups.Wrong, "in two pages"):
                groups.links(write("@NAMES first; second@\n"), [template, template])
            with self.assertRaisesRegex(groups.Wrong, "no section 'third'; it has: first, second"):
                groups.page(write("@NAMES third@\n"), template)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
