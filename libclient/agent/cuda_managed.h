#pragma once

#include <stdint.h>

#include "cuda_state.h"

/*
 * Granules of managed ranges that this process's kernels use where the CPU has them: see cuda_managed.c. One a session
 * and node, from the first granule to the node's last space.
 */
struct cuda_managed;

/* With the lock of `k` held: all granules of the node are unmapped, and svmd hears that this process has none. */
void cuda_managed_end(svmd_session *s, struct cuda *k, svmd_node node);
/* In the child of a fork, where there is no thread and no device: what is remembered goes. */
void cuda_managed_forget(struct cuda *k);
