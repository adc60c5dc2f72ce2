#!/bin/bash
# Numbered pages of one managed range, written by many while all that svmd can do is done to it: tests/system/test_hammer.c.
# vm kernels: lean debian
# vm memory: 2G
set -eu
"$SVMD_BUILD/system_hammer" 10000
