#!/bin/bash
# AMD's real driver without a card: what svmd says of /dev/kfd is what sysfs says, and what it refuses is said with what to do.
# vm kernels: debian
# vm module: amdgpu
set -eu
"$SVMD_BUILD/svmd-probe-kfd"
# The model of docs/devices.md answers as the driver does.
"$SVMD_BUILD/emul-kfd-answers" /dev/kfd
"$SVMD_BUILD/system_kfd" --real
# The memory of each CPU node, as sysfs and as the probe have it.
for node in /sys/class/kfd/kfd/topology/nodes/*; do
        bytes=$(awk '$1 == "size_in_bytes" { sum += $2 } END { printf "%d", sum }' "$node"/mem_banks/*/properties)
        "$SVMD_BUILD/svmd-probe-kfd" | grep -q "^node $(basename "$node") cpu [0-9]* $bytes "
done
