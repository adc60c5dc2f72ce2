#!/bin/bash
# Every C file that git tracks is as clang-format leaves it.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v clang-format >/dev/null || {
        echo "clang-format is not installed; install the package clang-format"
        exit 1
}
mapfile -t files < <(git ls-files -- '*.c' '*.h' | while read -r f; do [ -e "$f" ] && echo "$f"; done)
[ ${#files[@]} -gt 0 ] || {
        echo "git lists no C files here; run this in a clone of the repository"
        exit 1
}
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 16 clang-format --dry-run -Werror || {
        echo "run clang-format -i on the files named above"
        exit 1
}
