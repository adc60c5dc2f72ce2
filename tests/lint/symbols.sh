#!/bin/bash
# The core is pure: it calls nothing that reads a clock, a file or a lock, and keeps nothing between calls.
#
#   symbols.sh ARCHIVE      every symbol that ARCHIVE needs from outside is in core-symbols.allow,
#                           and it has no data that can be written
#   symbols.sh --self-test
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mapfile -t allowed < <(grep -vE '^[[:space:]]*(#|$)' "$here/core-symbols.allow")

is_allowed() {
        local pattern
        for pattern in "${allowed[@]}"; do
                # shellcheck disable=SC2053 # a pattern is meant
                [[ $1 == $pattern ]] && return 0
        done
        return 1
}

# Symbols that some object of the archive needs and none defines.
needed() {
        comm -23 <(nm -u --format=posix "$1" | awk 'NF >= 2 { print $1 }' | sort -u) \
                <(nm --defined-only -g --format=posix "$1" | awk 'NF >= 2 { print $1 }' | sort -u)
}

# "OBJECT SYMBOL" for each object that can be written to after relocation.
writable() {
        objdump -t "$1" | awk '
                /file format/ { object = $1; sub(/:$/, "", object) }
                {
                        for (i = 2; i < NF; i++)
                                if ($i ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $i !~ /^\.data\.rel\.ro/ &&
                                    $(i - 1) ~ /O/ && $NF !~ /^__(asan|odr_asan|gcov|llvm|profc|profd)/)
                                        print object, $NF
                }'
}

check() {
        local archive=$1 found=0 name object
        nm "$archive" >/dev/null 2>&1 || {
                echo "$archive: not an archive or object that nm can read; build the target svmd-core first"
                return 1
        }
        while read -r name; do
                is_allowed "$name" && continue
                echo "$archive: the core needs '$name'; pass what it does in as a parameter, or add it to" \
                        "tests/lint/core-symbols.allow if it is pure"
                found=1
        done < <(needed "$archive")
        while read -r object name; do
                echo "$archive($object): '$name' can be written; the core keeps its state in what its caller owns"
                found=1
        done < <(writable "$archive")
        return $found
}

# expect VERDICT CODE [CODE...]: an archive with one object per CODE passes, or is found fault with.
expect() {
        local verdict=$1 dir=$2/$RANDOM$RANDOM n=0 got=pass code
        shift 2
        mkdir "$dir"
        for code; do
                n=$((n + 1))
                printf '%s\n' "$code" | "${CC:-cc}" -x c -c -O0 -fPIC -o "$dir/$n.o" -
        done
        ar rcs "$dir/t.a" "$dir"/*.o
        check "$dir/t.a" >"$dir/out" || got=fault
        [ $got = "$verdict" ] && return 0
        echo "self-test: $* -> $got instead of $verdict"
        cat "$dir/out"
        return 1
}

self_test() {
        local dir bad=0
        dir=$(mktemp -d)
        # shellcheck disable=SC2064 # the name as it is now
        trap "rm -rf '$dir'" EXIT

        expect pass "$dir" 'int f(int x) { return x + 1; }' || bad=1
        expect pass "$dir" 'void *alloc_zero(unsigned long); void *f(void) { return alloc_zero(8); }' || bad=1
        expect pass "$dir" 'int g(void); int f(void) { return g(); }' 'int g(void) { return 1; }' || bad=1
        expect pass "$dir" 'static const char *const names[] = { "a", "b" }; const char *f(int i) { return names[i]; }' || bad=1
        expect fault "$dir" 'int open(const char *, int, ...); int f(void) { return open("x", 0); }' || bad=1
        expect fault "$dir" 'int f(void) { return 1; }' 'long time(long *); long g(void) { return time(0); }' || bad=1
        expect fault "$dir" 'void *malloc(unsigned long); void *f(void) { return malloc(8); }' || bad=1
        expect fault "$dir" 'static int calls; int f(void) { return ++calls; }' || bad=1
        expect fault "$dir" 'int f(void) { static int calls = 3; return ++calls; }' || bad=1
        expect fault "$dir" 'static _Thread_local int calls; int f(void) { return ++calls; }' || bad=1
        expect fault "$dir" 'int state = 1;' || bad=1
        if check "$dir/absent.a" >/dev/null; then
                echo "self-test: an archive that is not there passed"
                bad=1
        fi
        [ $bad = 0 ] && echo "self-test: all as expected"
        return $bad
}

case ${1-} in
--self-test) self_test ;;
"" | -*)
        echo "usage: symbols.sh ARCHIVE | --self-test" >&2
        exit 2
        ;;
*) check "$1" ;;
esac
