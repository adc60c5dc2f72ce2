#!/usr/bin/env bash
# Every header compiles by itself: what it needs, it includes. Argument: a build directory (for generated headers).
set -euo pipefail
build=$(readlink -f "$1")
cd "$(dirname "$(readlink -f "$0")")/../.."
bad=0
count=0
while read -r header; do
        count=$((count + 1))
        if ! printf '#include "%s"\n' "$PWD/$header" |
                gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only -x c \
                        -Idaemon -I. -Ilibclient/include -I"$build/gen" -iquote "$(dirname "$header")" -; then
                echo "$header: does not compile by itself" >&2
                bad=1
        fi
done < <(git ls-files 'daemon/*.h' 'policy/*.h' 'proto/*.h' 'libclient/*.h')
[ "$count" -gt 0 ] || { echo "no headers found" >&2; exit 1; }
echo "$count headers compile by themselves"
exit $bad
