#!/bin/bash
# Four NUMA nodes, two of them without CPUs: as host nodes, and managed memory that moves between them.
# vm kernels: lean debian
# vm nodes: 768M:0 768M:1 512M 512M
# vm distances: 0-1=21 0-2=40 0-3=60 1-2=60 1-3=40 2-3=80
# vm cpus: 2,sockets=2
# vm minutes: 10
set -eu
[ "$(ls -d /sys/devices/system/node/node* | wc -l)" = 4 ]
"$SVMD_BUILD/system_numa"
"$SVMD_BUILD/system_hammer" 6000
