#!/usr/bin/env python3
"""Checks who includes whom.

    layers.py [ROOT]       the tree at ROOT (default: the one this file is in)
    layers.py --self-test  breaks every rule once in a tree of its own

A layer is a folder. Its row in RULES says which layers its files may include, and which single headers
of other layers. A folder without a row is a finding: a new layer starts with a decision.
"""

import contextlib
import io
import os
import re
import sys
import tempfile

# layer: (layers it may include beside itself, single headers it may include)
RULES = {
    "daemon/base": ((), ()),
    "daemon/account": (("daemon/base",), ()),
    "daemon/cgroup": (("daemon/base",), ("daemon/account/dmem.h",)),
    "daemon/smi": (("daemon/base",), ("daemon/backend/smi.h", "proto/uapi/kfd.h")),
    "daemon/core": (("daemon/base",), ()),
    "daemon/cuda": (("daemon/base",), ("libclient/agent/cuda_api.h", "libclient/agent/cuda_library.h")),
    "policy": (("daemon/base",), ()),
    "policy/sim": (
        ("daemon/base", "daemon/core", "daemon/engine", "policy"),
        ("daemon/backend/recording.h", "proto/trace.h"),
    ),
    "daemon/engine": (("daemon/base", "daemon/core", "policy"), ()),
    "daemon/backend": (("daemon/base", "daemon/core", "proto/uapi"), ("daemon/cuda/ask.h", "proto/cuda.h", "proto/status.h")),
    "daemon/store": (("daemon/base", "daemon/core"), ()),
    "daemon/mover": (
        ("daemon/base", "daemon/core", "daemon/engine", "policy"),
        (
            "daemon/account/memcg.h",
            "daemon/backend/backend.h",
            "daemon/backend/memfile.h",
            "proto/range.h",
            "proto/status.h",
            "proto/trace.h",
        ),
    ),
    "daemon/service": (
        ("daemon/base", "daemon/account", "daemon/core", "daemon/engine", "proto"),
        (
            "daemon/backend/backend.h",
            "daemon/backend/cuda.h",
            "daemon/backend/drm.h",
            "daemon/backend/drm_bind.h",
            "daemon/backend/drm_space.h",
            "daemon/backend/kfd.h",
            "daemon/backend/memfile.h",
            "daemon/backend/private.h",
            "daemon/cgroup/ask.h",
            "daemon/cgroup/wire.h",
            "daemon/backend/smi.h",
            "daemon/mover/mover.h",
            "daemon/smi/listener.h",
            "policy/compile.h",
            "policy/share.h",
            "daemon/store/store.h",
            "daemon/store/journal.h",
        ),
    ),
    "daemon/confine": ((), ()),
    "daemon/keeper": (("daemon/base", "daemon/confine"), ("proto/limits.h",)),
    "daemon/probe": (("daemon/confine", "proto/uapi"), ()),
    "daemon/transport": (("daemon/base", "daemon/core", "daemon/service", "proto"), ()),
    "daemon/bus": (("daemon/base", "daemon/core", "daemon/service", "proto"), ()),
    "daemon/main": (
        tuple("daemon/" + l for l in "base account core engine backend mover store service smi transport bus keeper".split())
        + ("policy", "proto"),
        (),
    ),
    "proto": ((), ()),
    "proto/uapi": ((), ()),
    "libclient/include": ((), ()),
    "libclient/src": (("libclient/include", "proto"), ("libclient/agent/cuda.h", "libclient/agent/drm.h", "libclient/agent/kfd.h")),
    "libclient/agent": (("libclient/include", "libclient/src", "proto"), ("daemon/backend/drm_bind.h", "proto/uapi/kfd.h")),
    "libclient/heap": ((), ("libclient/include/svmd.h", "proto/range.h")),
    "libclient/ctl": ((), ("libclient/include/svmd.h",)),
    "libclient/exporter": ((), ("libclient/include/svmd.h",)),
    "libclient/hook": ((), ("daemon/base/started.h", "libclient/include/svmd.h", "libclient/ctl/size.h")),
}

# A system header that only one layer may include.
OWNED = {"ev.h": "daemon/transport", "ev++.h": "daemon/transport"}

SEARCHED = ("daemon", "policy", "proto", "libclient")
INCLUDE_ROOTS = ("daemon", "", "libclient/include", "libclient/src", "libclient")
GENERATED = re.compile(r"(^|/)svmd\.pb-c\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def layer_of(path):
    """The layer of a path below the root, or None."""
    inside = [layer for layer in RULES if path.startswith(layer + "/")]
    return max(inside, key=len, default=None)


def sources(root):
    for top in SEARCHED:
        for folder, folders, files in os.walk(os.path.join(root, top)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def resolve(root, path, name, quoted):
    """What `name` stands for in the file `path`: a path below the root, or None."""
    folders = ([os.path.dirname(path)] if quoted else []) + list(INCLUDE_ROOTS)
    for folder in folders:
        found = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(root, found)):
            return found
    return "proto/svmd.pb-c.h" if GENERATED.search(name) else None


def fault(root, path, name, quoted):
    """Why the file `path` may not include `name`, or None."""
    layer = layer_of(path)
    owner = OWNED.get(os.path.basename(name))
    if not quoted and owner:
        return None if layer == owner else f"only {owner} may include <{name}>"
    target = resolve(root, path, name, quoted)
    if target is None:
        return f'"{name}" is no file of this tree; write system headers as <{name}>' if quoted else None
    layers, headers = RULES[layer]
    if layer_of(target) in (layer, *layers) or target in headers:
        return None
    may = ", ".join((layer, *layers, *headers))
    return f"{layer} may not include {target}; it may include {may}"


def check(root):
    """Prints each finding and returns how many there are; an empty tree is one."""
    found = count = 0
    for path in sources(root):
        count += 1
        if layer_of(path) is None:
            print(f"{path}:1: no rule for this folder; add a row to RULES in tests/lint/layers.py")
            found += 1
            continue
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                match = INCLUDE.match(line)
                why = match and fault(root, path, match[1] or match[2], match[1] is not None)
                if why:
                    print(f"{path}:{number}: {why}")
                    found += 1
    if not count:
        print(f"{root}: no source files below {', '.join(SEARCHED)}; name the top of the tree")
        return 1
    return found


# The rules once more, by example and by hand: file, what it includes.
ALLOWED = [
    ("daemon/base/a.c", '"base/b.h"'),
    ("daemon/base/a.c", "<stdio.h>"),
    ("daemon/account/a.c", '"base/b.h"'),
    ("daemon/cgroup/a.c", '"base/b.h"'),
    ("daemon/cgroup/a.c", '"account/dmem.h"'),
    ("daemon/smi/a.c", '"backend/smi.h"'),
    ("daemon/core/a.c", '"base/b.h"'),
    ("daemon/cuda/a.c", '"libclient/agent/cuda_api.h"'),
    ("daemon/backend/a.c", '"cuda/ask.h"'),
    ("daemon/core/a.c", '"b.h"'),
    ("policy/place.c", '"base/b.h"'),
    ("policy/place.c", '"policy/b.h"'),
    ("policy/sim/a.c", '"engine/b.h"'),
    ("policy/sim/a.c", '"proto/trace.h"'),
    ("daemon/engine/a.c", '"core/b.h"'),
    ("daemon/engine/a.c", '"policy/b.h"'),
    ("daemon/backend/soft/a.c", '"core/b.h"'),
    ("daemon/backend/soft/a.c", '"backend/b.h"'),
    ("daemon/backend/soft/a.c", '"proto/status.h"'),
    ("daemon/store/a.c", '"core/b.h"'),
    ("daemon/service/a.c", '"account/b.h"'),
    ("daemon/service/a.c", '"engine/b.h"'),
    ("daemon/service/a.c", '"proto/svmd.pb-c.h"'),
    ("daemon/service/a.c", '"backend/backend.h"'),
    ("daemon/service/a.c", '"store/store.h"'),
    ("daemon/service/a.c", '"store/journal.h"'),
    ("daemon/keeper/a.c", '"base/b.h"'),
    ("daemon/keeper/a.c", '"confine/b.h"'),
    ("daemon/probe/a.c", '"confine/b.h"'),
    ("daemon/keeper/a.c", '"proto/limits.h"'),
    ("daemon/transport/a.c", "<ev.h>"),
    ("daemon/transport/a.c", '"service/b.h"'),
    ("daemon/transport/a.c", '"proto/b.h"'),
    ("daemon/bus/a.c", '"service/b.h"'),
    ("daemon/main/a.c", '"keeper/b.h"'),
    ("daemon/main/a.c", '"transport/b.h"'),
    ("daemon/main/a.c", '"backend/b.h"'),
    ("libclient/src/a.c", '"proto/b.h"'),
    ("libclient/src/a.c", '"svmd.h"'),
    ("libclient/src/a.c", '"agent/cuda.h"'),
    ("libclient/agent/a.c", '"src/b.h"'),
    ("libclient/agent/a.c", '"backend/drm_bind.h"'),
    ("libclient/heap/a.c", '"svmd.h"'),
    ("libclient/heap/a.c", '"proto/range.h"'),
    ("libclient/ctl/a.c", '"svmd.h"'),
    ("libclient/ctl/a.c", "<svmd.h>"),
    ("libclient/ctl/a.c", '"ctl/b.h"'),
    ("libclient/exporter/a.c", '"exporter/b.h"'),
    ("libclient/hook/a.c", '"ctl/size.h"'),
    ("libclient/hook/a.c", '"base/started.h"'),
]
FORBIDDEN = [
    ("daemon/base/a.c", '"core/b.h"'),
    ("daemon/base/a.c", '"proto/b.h"'),
    ("daemon/account/a.c", '"core/b.h"'),
    ("daemon/account/a.c", '"proto/b.h"'),
    ("daemon/cgroup/a.c", '"core/b.h"'),
    ("daemon/cgroup/a.c", '"account/b.h"'),
    ("daemon/smi/a.c", '"backend/kfd.h"'),
    ("daemon/smi/a.c", '"service/b.h"'),
    ("daemon/core/a.c", '"engine/b.h"'),
    ("daemon/core/a.h", '"proto/b.h"'),
    ("daemon/core/a.c", '"policy/b.h"'),
    ("daemon/core/a.c", '"../engine/b.h"'),
    ("daemon/cuda/a.c", '"core/b.h"'),
    ("daemon/backend/a.c", '"cuda/b.h"'),
    ("policy/place.c", '"core/b.h"'),
    ("policy/a.c", '"engine/b.h"'),
    ("policy/sim/a.c", '"mover/b.h"'),
    ("daemon/engine/a.c", '"backend/backend.h"'),
    ("daemon/engine/a.c", '"proto/b.h"'),
    ("daemon/backend/a.c", '"engine/b.h"'),
    ("daemon/backend/soft/a.c", '"service/b.h"'),
    ("daemon/backend/soft/a.c", '"proto/b.h"'),
    ("daemon/backend/a.c", '"store/store.h"'),
    ("daemon/store/a.c", '"backend/backend.h"'),
    ("daemon/store/a.c", '"proto/b.h"'),
    ("daemon/mover/a.c", '"service/b.h"'),
    ("daemon/mover/a.c", '"backend/b.h"'),
    ("daemon/mover/a.c", '"proto/b.h"'),
    ("daemon/service/a.c", '"mover/b.h"'),
    ("daemon/service/a.c", '"backend/b.h"'),
    ("daemon/service/a.c", '"store/b.h"'),
    ("daemon/service/a.c", '"transport/b.h"'),
    ("daemon/service/a.c", '"keeper/b.h"'),
    ("daemon/service/a.c", "<ev.h>"),
    ("daemon/confine/a.c", '"base/b.h"'),
    ("daemon/keeper/a.c", '"core/b.h"'),
    ("daemon/keeper/a.c", '"proto/b.h"'),
    ("daemon/transport/a.c", '"backend/backend.h"'),
    ("daemon/probe/a.c", '"base/b.h"'),
    ("daemon/probe/a.c", '"proto/b.h"'),
    ("daemon/transport/a.c", '"bus/b.h"'),
    ("daemon/transport/a.c", '"main/b.h"'),
    ("daemon/bus/a.c", '"transport/b.h"'),
    ("daemon/main/a.c", '"libclient/src/b.h"'),
    ("daemon/main/a.c", "<svmd.h>"),
    ("daemon/main/a.c", "<ev.h>"),
    ("proto/a.c", '"base/b.h"'),
    ("proto/uapi/a.h", '"proto/b.h"'),
    ("libclient/include/svmd.h", '"proto/b.h"'),
    ("libclient/src/a.c", '"base/b.h"'),
    ("libclient/src/a.c", '"ctl/b.h"'),
    ("libclient/agent/a.c", '"ctl/b.h"'),
    ("libclient/agent/a.c", '"backend/b.h"'),
    ("libclient/heap/a.c", '"proto/b.h"'),
    ("libclient/heap/a.c", '"src/b.h"'),
    ("libclient/ctl/a.c", '"proto/b.h"'),
    ("libclient/ctl/a.c", '"src/b.h"'),
    ("libclient/ctl/a.c", "<ev.h>"),
    ("libclient/exporter/a.c", '"ctl/b.h"'),
    ("libclient/exporter/a.c", '"proto/b.h"'),
    ("libclient/hook/a.c", '"ctl/b.h"'),
    ("libclient/hook/a.c", '"base/b.h"'),
    ("libclient/hook/a.c", '"proto/b.h"'),
    ("daemon/novel/a.c", "<stdio.h>"),
    ("daemon/core/a.c", '"core/absent.h"'),
    ("daemon/core/a.c", '"stdio.h"'),
]


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def quiet_check(root):
    with io.StringIO() as out, contextlib.redirect_stdout(out):
        return check(root), out.getvalue().splitlines()


def findings_of(path, include):
    """The findings, as text, in a tree of empty headers and one file with one include on line 2."""
    with tempfile.TemporaryDirectory() as root:
        for layer in RULES:
            write(root, layer + "/b.h", "")
        for header in sorted({h for _, headers in RULES.values() for h in headers}):
            write(root, header, "")
        write(root, path, f"/* one */\n#include {include}\n")
        count, lines = quiet_check(root)
        assert count == len(lines), (count, lines)
        return lines


def self_test():
    bad = 0
    for path, include in ALLOWED:
        lines = findings_of(path, include)
        if lines:
            print(f"self-test: {path} may include {include}, but: {lines}")
            bad += 1
    for path, include in FORBIDDEN:
        lines = findings_of(path, include)
        line = 1 if "/novel/" in path else 2
        if len(lines) != 1 or not lines[0].startswith(f"{path}:{line}: "):
            print(f"self-test: {path} may not include {include}, but the findings are {lines}")
            bad += 1
    untried = set(RULES) - {layer_of(path) for path, _ in FORBIDDEN}
    if untried:
        print(f"self-test: no rule of {', '.join(sorted(untried))} is broken; add a line to FORBIDDEN")
        bad += 1
    with tempfile.TemporaryDirectory() as root:
        if quiet_check(root)[0] != 1:
            print("self-test: an empty tree passed")
            bad += 1
    print(f"self-test: {len(ALLOWED)} allowed, {len(FORBIDDEN)} forbidden, {bad} wrong")
    return bad


def main(args):
    if args == ["--self-test"]:
        return 1 if self_test() else 0
    if len(args) > 1 or (args and args[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    here = os.path.dirname(os.path.abspath(__file__))
    return 1 if check(args[0] if args else os.path.join(here, "..", "..")) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
