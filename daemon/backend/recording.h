#pragma once

#include <stddef.h>

#include "core/node.h"

/*
 * Reads a recorded machine: a folder in the layout of /sys/class/kfd/kfd/topology (DIR itself, DIR/topology, or
 * DIR/sys/class/kfd/kfd/topology, DIR/sys/devices/virtual/kfd/kfd/topology, whichever is there). CPU nodes become host
 * nodes "host0", "host1", ..., GPU nodes soft nodes "gpu0", "gpu1", ... in the order of their numbers; capacities from
 * mem_banks, links from io_links and p2p_links, hives from hive_id, faults from `faults`.
 *
 * -EBADMSG: the recording is malformed, and `why` says "FILE:LINE: what was expected". Other errors are the system's,
 * also with a sentence in `why`. Nodes are appended to `m`, which is as before on failure.
 */
int recording_read(struct machine *m, const char *dir, bool faults, char *why, size_t why_size);
/* This machine's NUMA nodes as host nodes, from <sys>/devices/system/node; where there are not two with memory, one
 * node of the MemTotal in <proc>/meminfo. Their distances are links of type "numa", in both directions. */
int machine_read_host(struct machine *m, const char *sys_root, const char *proc_root, char *why, size_t why_size);
