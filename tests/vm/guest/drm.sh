#!/bin/bash
# The devices of vgem and virtio-gpu, and of vkms where the kernel has it, as svmd lists them, against libdrm.
# vm kernels: lean debian
# vm module: vgem
# vm module: virtio-gpu
# vm device: virtio-gpu-pci
set -eu
drivers="vgem virtio_gpu"
if modprobe vkms 2>/dev/null; then
        drivers="$drivers vkms"
fi
"$SVMD_BUILD/system_drm" $drivers
