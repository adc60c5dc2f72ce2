#!/usr/bin/env bash
# run.sh SECONDS BUILD_DIR: shares the seconds out over the fuzz targets of a build with SVMD_FUZZ, as many at a time as
# there are processors. libFuzzer has the first half of a target's seconds, AFL++ the second. Inputs that reach new code
# are kept in BUILD_DIR/fuzz/NAME, whoever found them, and tried first the next time; an input that fails lands in
# BUILD_DIR/fuzz/found. With SECONDS 0 each target runs once over the inputs that there are.
set -euo pipefail
[[ $# -eq 2 && $1 =~ ^[0-9]+$ && -d $2 ]] || { echo "usage: $0 SECONDS BUILD_DIR" >&2; exit 2; }
seconds=$1
build=$(readlink -f "$2")
here=$(dirname "$(readlink -f "$0")")
lanes=$(nproc)

# The more there is to find, the larger a target's share.
declare -A weights=([service]=5 [restore]=3 [client]=2 [journal]=2)
targets=()
weight_sum=0
for source in "$here"/fuzz_*.c; do
        name=$(basename "$source" .c)
        name=${name#fuzz_}
        for program in "$build/fuzz_$name" "$build/afl_$name"; do
                [ -x "$program" ] || { echo "$program is missing: build it, with ./dev build fuzz" >&2; exit 2; }
        done
        targets+=("$name")
        weight_sum=$((weight_sum + ${weights[$name]:-1}))
done
mkdir -p "$build/fuzz/found"

set -m # a group of processes for each, to end it with all that it has started
# Temporary files of the targets lie in memory.
export TMPDIR=/dev/shm
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:${ASAN_OPTIONS:-}
export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}

# Seconds of a target: of all processors together, but no longer than the whole.
share_of() {
        local share=$((seconds * lanes * ${weights[$1]:-1} / weight_sum))
        [ "$share" -lt "$seconds" ] || share=$seconds
        [ "$share" -gt 1 ] || share=2
        echo "$share"
}

by_libfuzzer() {
        local name=$1 own=$build/fuzz/$1 args
        mkdir -p "$own"
        if [ "$seconds" -gt 0 ]; then
                args=(-max_total_time="$(($(share_of "$name") / 2))")
        else
                args=(-runs=0)
        fi
        [ -e "$here/$name.dict" ] && args+=("-dict=$here/$name.dict")
        "$build/fuzz_$name" "${args[@]}" -timeout=25 -rss_limit_mb=4096 -max_len=4096 -print_final_stats=1 \
                -artifact_prefix="$build/fuzz/found/$name-" "$own" "$here/corpus/$name" >"$build/fuzz/$name.log" 2>&1
}

# Also when the first one has failed: the other may find something else.
fuzz_one() {
        local name=$1 result=0
        rm -f "$build/fuzz/$name.afl.log"
        by_libfuzzer "$name" || result=1
        [ "$seconds" -eq 0 ] || "$here/afl.sh" "$name" $((($(share_of "$name") + 1) / 2)) "$build" \
                >"$build/fuzz/$name.afl.log" 2>&1 || result=1
        return $result
}

# The last number that a log has at a place.
found_in() {
        sed -n "s/$2/\1/p" "$1" | tail -n 1
}

report_line() {
        printf '%-10s %-9s %10s executions  cov: %-5s %5s new inputs\n' "$1" "$2" "${3:-?}" "${4:-?}" "${5:-?}"
}

# What they say of a run: executions, coverage (each by a measure of its own), and inputs that reached new code.
report() {
        local log=$build/fuzz/$1.log
        report_line "$1" libFuzzer "$(found_in "$log" '^stat::number_of_executed_units: *\([0-9]*\)')" \
                "$(found_in "$log" '.* cov: \([0-9]*\) .*')" "$(found_in "$log" '^stat::new_units_added: *\([0-9]*\)')"
        log=$build/fuzz/$1.afl.log
        [ ! -e "$log" ] || report_line "" AFL++ "$(found_in "$log" '^execs_done *: *\([0-9]*\)')" \
                "$(found_in "$log" '^edges_found *: *\([0-9]*\)')" "$(found_in "$log" '^corpus_found *: *\([0-9]*\)')"
        printf '%-10s %s s  %s\n' "" "$(share_of "$1")" "$2"
}

failed=0
declare -A running=() # names, by their processes
finish_one() {
        local result=0 pid name input log
        wait -n -p pid "${!running[@]}" || result=1
        name=${running[$pid]}
        unset "running[$pid]"
        if [ $result -eq 0 ]; then
                report "$name" ok
                return
        fi
        failed=1
        report "$name" FAILED
        for log in "$build/fuzz/$name.log" "$build/fuzz/$name.afl.log"; do
                [ -e "$log" ] || continue
                tail -n 60 "$log"
                input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
                [ -z "$input" ] || echo "$name failed on $input: see it again with $build/fuzz_$name $input" >&2
        done
}

stop() {
        local r
        for r in "${!running[@]}"; do
                kill -- "-$r" 2>/dev/null || true
        done
        exit 130
}
trap stop INT TERM

# The longest ones first, so that the processors end together.
mapfile -t targets < <(for name in "${targets[@]}"; do echo "${weights[$name]:-1} $name"; done | sort -k1,1nr | cut -d' ' -f2)
for name in "${targets[@]}"; do
        fuzz_one "$name" &
        running[$!]=$name
        [ ${#running[@]} -lt "$lanes" ] || finish_one
done
while [ ${#running[@]} -gt 0 ]; do
        finish_one
done
exit $failed
