#!/bin/bash
# The guest is what the other tests take it for: this machine's files, that can be written without changing the machine,
# more than one CPU, and no svmd that is running.
# vm kernels: lean debian
set -eu
case $SVMD_KERNEL in
debian) uname -r | grep -q -- -amd64 ;;
*) uname -r | grep -q "^$SVMD_KERNEL\." ;;
esac
[ "$(nproc)" = 2 ]
cmp "$SVMD_SOURCE/tests/vm/inside.sh" /proc/1/fd/255
echo changed >"$SVMD_SOURCE/tests/vm/of-the-guest"
grep -q changed "$SVMD_SOURCE/tests/vm/of-the-guest"
"$SVMD_BUILD/svmd" --version
! pidof svmd
