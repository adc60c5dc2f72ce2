#!/bin/bash
# svmd is killed again and again while the hammer writes: tests/system/test_kill.c, with few kills.
# vm kernels: lean debian
# vm memory: 2G
set -eu
"$SVMD_BUILD/system_kill" 8
