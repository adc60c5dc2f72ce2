#!/bin/bash
# Private memory on the kernel's HMM test devices, two with device-private and two with coherent memory: tests/system/hmm.c.
# Prints the rows hmm_out and hmm_in.
# vm kernels: lean
# vm memory: 2G
# vm boot: memmap=512M$0x50000000
# vm module: test_hmm spm_addr_dev0=0x50000000 spm_addr_dev1=0x60000000
# vm minutes: 10
set -eu
ls -l /dev/hmm_dmirror*
"$SVMD_BUILD/vm_hmm"
