#!/usr/bin/env bash
# afl.sh NAME SECONDS BUILD_DIR: AFL++ on one target, for run.sh. It begins with the inputs of the repository and some of
# BUILD_DIR/fuzz/NAME, and adds to those what reached new code. What fails or hangs lands in BUILD_DIR/fuzz/found and is
# run again as libFuzzer's, which says what is wrong. Exit status 1: there was such an input, or AFL++ did not run.
set -euo pipefail
[[ $# -eq 3 && $2 =~ ^[0-9]+$ && -x $3/afl_$1 ]] || { echo "usage: $0 NAME SECONDS BUILD_DIR" >&2; exit 2; }
name=$1 seconds=$2 build=$(readlink -f "$3")
here=$(dirname "$(readlink -f "$0")")
own=$build/fuzz/$name found=$build/fuzz/found
mkdir -p "$own" "$found"

# What the target leaves in memory when AFL++ kills it goes with the rest.
work=$(mktemp -d /dev/shm/svmd-fuzz-afl-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/in" "$work/tmp"
export TMPDIR=$work/tmp AFL_TMPDIR=$work/tmp

# On a machine as it is, whatever it does with cores and its clock; and as soon as possible.
export AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_NO_COLOR=1
export AFL_FAST_CAL=1 AFL_FORKSRV_INIT_TMOUT=60000 AFL_HANG_TMOUT=25000
# It looks for signals. Leaks are what libFuzzer looks for, in the same inputs.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:abort_on_error=1:symbolize=0:detect_leaks=0
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-}:halt_on_error=1:abort_on_error=1:symbolize=0

cp "$here/corpus/$name"/* "$work/in/"
find "$own" -type f -size -9 | shuf -n 100 | xargs -r cp -t "$work/in"
args=(-V "$seconds" -i "$work/in" -o "$work/out" -m none -t 25000 -G 4096)
[ ! -e "$here/$name.dict" ] || args+=(-x "$here/$name.dict")
failed=0 result=0
timeout --foreground -s INT -k 10 "$seconds" afl-fuzz "${args[@]}" -- "$build/afl_$name" || result=$?
[ "$result" -eq 0 ] || [ "$result" -eq 124 ] || failed=1

# Under the name that libFuzzer would give it.
keep() {
        [ ! -f "$1" ] || cp "$1" "$2$(sha1sum <"$1" | cut -d' ' -f1)"
}
for file in "$work"/out/default/queue/id:*; do
        keep "$file" "$own/"
done
for file in "$work"/out/default/{crashes,hangs}/id:*; do
        [ -f "$file" ] || continue
        failed=1
        keep "$file" "$found/$name-afl-"
        "$build/fuzz_$name" -timeout=25 "$file" || true
        echo "Test unit written to $found/$name-afl-$(sha1sum <"$file" | cut -d' ' -f1)"
done
cat "$work/out/default/fuzzer_stats" 2>/dev/null || true
exit $failed
