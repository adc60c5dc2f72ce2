#!/bin/bash
# clang-tidy (.clang-tidy at the top) over the layers' C files, as they are compiled in BUILD_DIR.
#
#   tidy.sh BUILD_DIR [REVISION]    with a revision, only the layers in which something changed since
set -euo pipefail

[ $# -ge 1 ] && [ $# -le 2 ] || {
        echo "usage: tidy.sh BUILD_DIR [REVISION]" >&2
        exit 2
}
build=$(cd "$1" && pwd)
since=${2-}
cd "$(dirname "$0")/../.."
here=$(pwd -P)

command -v clang-tidy >/dev/null || {
        echo "clang-tidy is not installed; install the package clang-tidy"
        exit 1
}
[ -e "$build/compile_commands.json" ] || {
        echo "$build has no compile_commands.json; configure and build there first"
        exit 1
}

# Layers of the C files on stdin (daemon/core, policy, ...). The public header is checked with the library.
layers() {
        sed -nE -e 's,^libclient/include/,libclient/src/,' \
                -e 's,^((daemon|libclient)/[^/]+|policy|proto)/.*\.[ch]$,\1,p' | sort -u
}

compiled() {
        sed -nE 's/^ *"file": "(.*)",?$/\1/p' "$build/compile_commands.json" | sed -n "s,^$here/,,p" | sort -u
}

wanted=$({
        if [ -n "$since" ]; then
                git diff --name-only "$since" --
        else
                git ls-files
        fi
} | layers)
[ -n "$wanted" ] || {
        echo "no layer changed since $since"
        exit 0
}

# A header of a layer is checked with the files that include it.
mapfile -t files < <(compiled | grep -E "^($(echo "$wanted" | paste -sd'|'))/" || true)
[ ${#files[@]} -gt 0 ] || {
        echo "$build compiles no file of: $wanted"
        exit 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! printf '%s\0' "${files[@]}" |
        xargs -0 -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet >"$log" 2>&1; then
        grep -vE '^[0-9]+ warnings?( and [0-9]+ errors?)? (generated|treated)|^Suppressed ' "$log"
        echo "mend what clang-tidy found above; where it is wrong, say why beside a NOLINT(check)"
        exit 1
fi
echo "clang-tidy: ${#files[@]} files of $(echo "$wanted" | paste -sd' '), nothing found"
