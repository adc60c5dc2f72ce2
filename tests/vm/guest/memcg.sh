#!/bin/bash
# Memory cgroups of version 2: who is charged, and that a client's memory.max holds and ends the right process.
# vm kernels: lean debian
# vm memory: 2G
# vm minutes: 10
# vm log may have: Call Trace|invoked oom-killer|oom-kill:
set -eu
"$SVMD_BUILD/system_memcg"
"$SVMD_BUILD/system_memcg_max" >/tmp/said || {
        cat /tmp/said
        exit 1
}
cat /tmp/said
grep -q 'and nobody else' /tmp/said
