#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * AMD's compute driver, executed in this process, because it serves no other: each call under a grant of svmd's, and
 * acknowledged with what the driver said. The driver keeps buffers and shared virtual memory apart; so buffers lie in
 * explicit reservations and shared virtual memory in private ones, which cannot be both, and svmd grants nothing else.
 *
 *      buffer -> grant (alloc, map), made at its address and mapped; the grant pays for it until it is freed
 *      advice -> grant (advise), an attribute
 *      move   -> grant (prefetch), which pays for what is on a GPU until it is moved away or its addresses are given
 * back
 */
struct kfd; /* of a session that has used such a node */

/* svmd's own words about private memory: to such a node, or back from one. False: they are not for here. */
bool kfd_prefetches(svmd_session *s, uint64_t address, uint64_t size, svmd_node node);
int kfd_prefetch(svmd_session *s, uint64_t address, uint64_t size, svmd_node node);
bool kfd_advises(svmd_session *s, uint64_t address, const struct svmd_advice *advice);
int kfd_advise(svmd_session *s, uint64_t address, uint64_t size, const struct svmd_advice *advice);
/* These addresses are given back: buffers there go first. */
void kfd_range_end(svmd_session *s, uint64_t start);
/* All of a session that ends. */
void kfd_end(svmd_session *s);
