#!/bin/bash
# What svmd says of the kernel's grants is true, and each kernel lacks what it is known to lack.
# vm kernels: lean debian
set -eu
lacking=()
case $SVMD_KERNEL in
6.1 | debian)
        lacking=(uffd-continue-protected uffd-poison uffd-read-now uffd-protect-empty uffd-protect-async uffd-move peer-pidfd
                memfd-noexec)
        ;;
esac
python3 tests/system/grants.py "$SVMD_BUILD" --lacking "${lacking[@]}"
