#!/bin/bash
# Dma-bufs of udmabuf, the system heap, vgem and vkms, shared by two processes through svmd, and imported by PRIME.
# vm kernels: lean
# vm module: vgem
# vm module: vkms
set -eu
chmod 0666 /dev/dri/card*
"$SVMD_BUILD/system_dmabuf" --real
