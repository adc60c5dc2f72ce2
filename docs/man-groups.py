#!/usr/bin/env python3
"""Makes libsvmd's man pages of groups of functions, so that they say what svmd.h says.

    man-groups.py SVMD_H TEMPLATE PAGE    writes a page; in the template, each on a line of its own and with sections of
                                          svmd.h in between semicolons,
        @NAMES sections@                  becomes their functions' names, for .Nm
        @SYNOPSIS sections@               their prototypes
        @REFERENCE sections@              all of them: comments as text, declarations as they are
    man-groups.py --links SVMD_H FOLDER TEMPLATE...   writes, for each function, a page that is the page of its group;
                                          a function that has none, or two, is an error
"""
import os
import re
import sys

HEAD = re.compile(r"^/\* ---- (.*?) -+ \*/\n", re.M)
PROTOTYPE = re.compile(r"^([a-z][\w ]*?[ *]+)(svmd_\w+)\(([^;{]*)\);", re.M)


class Wrong(Exception):
    pass


def sections_of(header):
    """Name -> text of each section of svmd.h; what is in front of the first is "" and what ends the file is cut off."""
    header = header.split("#pragma GCC visibility pop")[0].split("#pragma GCC visibility push(default)")[-1]
    parts = HEAD.split(header)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def prototypes(text):
    """(type, name, arguments) of each function."""
    return [(kind.strip(), name, [" ".join(a.split()) for a in arguments.split(",")])
            for kind, name, arguments in PROTOTYPE.findall(without_comments(text))]


def escape(line):
    line = line.replace("\\", "\\e")
    return "\\&" + line if line.startswith((".", "'")) else line


def names(text):
    found = [name for _, name, _ in prototypes(text)]
    return "\n".join(f".Nm {name}{' ,' if name != found[-1] else ''}" for name in found)


def synopsis(text):
    lines = []
    for kind, name, arguments in prototypes(text):
        lines += [f".Ft {kind}", f".Fo {name}", *(f'.Fa "{a}"' for a in arguments if a != "void"), ".Fc"]
    return "\n".join(lines)


def comment_lines(comment):
    """A paragraph's sentences, a line each, as mdoc wants them."""
    body = "\n".join(re.sub(r"^\s*\*? ?", "", line).rstrip() for line in comment[2:-2].strip("\n").split("\n"))
    lines = []
    for paragraph in filter(None, re.split(r"\n\n+", body.strip())):
        sentences = re.sub(r"([.!?]\)?) (?=\S)", r"\1\n", " ".join(paragraph.split()))
        lines += [".Pp", *map(escape, sentences.split("\n"))]
    return lines[1:]


def reference(text):
    """A comment that begins a line is a paragraph about what follows; the rest is shown as it is."""
    lines = []
    for part in re.split(r"^(/\*.*?\*/)$", text, flags=re.S | re.M):
        if part.startswith("/*"):
            lines += [".Pp", *comment_lines(part)]
        elif part.strip():
            code = [escape(line.replace("        ", "    ")) for line in part.strip("\n").split("\n")]
            lines += [".Bd -literal", *code, ".Ed"]
    return "\n".join(lines[1:] if lines[0] == ".Pp" else lines)


MAKERS = {"NAMES": names, "SYNOPSIS": synopsis, "REFERENCE": reference}
PLACE = re.compile(r"^@(NAMES|SYNOPSIS|REFERENCE) (.*)@$", re.M)


def chosen(sections, wanted, template):
    try:
        return "\n".join(sections[one] for one in wanted.split("; "))
    except KeyError as error:
        raise Wrong(f"{template}: svmd.h has no section {error}; it has: {', '.join(filter(None, sections))}") from None


def page(sections, template):
    with open(template, encoding="utf-8") as file:
        return PLACE.sub(lambda m: MAKERS[m[1]](chosen(sections, m[2], template)), file.read())


def links(sections, templates):
    """Function -> its group's page."""
    found = {name: "libsvmd" for _, name, _ in prototypes(sections[""])}
    for template in templates:
        group = os.path.basename(template).split(".")[0]
        with open(template, encoding="utf-8") as file:
            wanted = next(m[2] for m in PLACE.finditer(file.read()) if m[1] == "NAMES")
        for _, name, _ in prototypes(chosen(sections, wanted, template)):
            if name in found:
                raise Wrong(f"{name} is in two pages, {found[name]} and {group}")
            found[name] = group
    missing = [name for text in sections.values() for _, name, _ in prototypes(text) if name not in found]
    if missing:
        raise Wrong(f"no page has {', '.join(missing)}: its section of svmd.h is in no template")
    return found


def main():
    arguments = sys.argv[1:]
    all_links = arguments[:1] == ["--links"]
    header, place, *rest = arguments[all_links:] if len(arguments) >= 3 else sys.exit(__doc__)
    with open(header, encoding="utf-8") as file:
        sections = sections_of(file.read())
    if all_links:
        for name, group in links(sections, rest).items():
            with open(os.path.join(place, name + ".3"), "w", encoding="utf-8") as file:
                file.write(f".so man3/{group}.3\n")
        return
    with open(rest[0], "w", encoding="utf-8") as file:
        file.write(page(sections, place))


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"man-groups.py: {wrong}")
