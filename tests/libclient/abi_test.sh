#!/bin/sh
# abi_test.sh check|write LIBRARY REFERENCE HEADERS: compares the interface of a libsvmd with the reference, or writes
# the reference. Both are reduced to what the public headers define, so that inner types may change.
set -eu
describe() {
        abidw --headers-dir "$headers" --drop-private-types --exported-interfaces-only --no-comp-dir-path \
                --no-corpus-path --no-show-locs --short-locs --out-file "$1" "$library"
}

library=$2 reference=$3 headers=$4
case $1 in
write) describe "$reference" ;;
check)
        now=$(mktemp)
        trap 'rm -f "$now"' EXIT
        describe "$now"
        abidiff --no-show-locs "$reference" "$now" || {
                echo "The interface of libsvmd changed. If that is wanted: ninja libsvmd-abi, and commit libsvmd.abi."
                exit 1
        }
        ;;
esac
