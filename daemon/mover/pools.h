#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Where granules are that are on a device, or pass through a host's memory out of the CPU's reach: a sparse file of
 * slots for each node and size of granule. The pages of a slot are taken before the first write to it, so that a
 * machine without memory refuses, and does not kill.
 */
struct mover;
struct pool;

/* All pools that granules of this size may need; in the loop's thread. -ENOMEM and such. */
int pools_prepare(struct mover *m, uint32_t granule);
/* Devices have some, and of several hosts each one. */
bool pools_are_on(const struct mover *m, uint32_t node);
/* NULL: there is none. */
struct pool *pool_get(const struct mover *m, uint32_t node, uint32_t granule);

/* The slot's bytes. NULL: there is no such slot. */
char *pool_at(const struct pool *p, uint32_t slot);
/* Takes its pages; `ret_zero` (may be NULL): they are zero, being new. -ENOMEM, -ENOSPC. */
int pool_commit(struct pool *p, uint32_t slot, bool *ret_zero);
/* A slot of an earlier svmd has its pages. */
void pool_committed(struct pool *p, uint32_t slot);
/* Gives them back. */
void pool_release(struct pool *p, uint32_t slot);
/* After a restart: gives back what no granule has. */
void pools_sweep(struct mover *m);
void pools_free(struct mover *m);
