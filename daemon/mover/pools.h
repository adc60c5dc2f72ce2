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

bool pool_has(const struct pool *p, uint32_t slot);
struct device_extent;
/* How another device names the slot. -EIO: it cannot. */
int pool_extent(const struct pool *p, uint32_t slot, struct device_extent *ret);

/*
 * The bytes of `count` slots that lie behind one another, from pool_open() to pool_close(), which says whether they are
 * to stay as they are now. -EIO: there are no such slots.
 */
enum pool_use {
        POOL_READ,
        POOL_FILL,   /* all of it is written */
        POOL_CHANGE, /* some of it is */
};
struct pool_view {
        struct pool *pool;
        char *bytes;
        uint32_t slot;
        enum pool_use use;
};
int pool_open(struct pool *p, uint32_t slot, uint32_t count, enum pool_use use, struct pool_view *ret);
/* The result of what was done with them; or why what was written is not there. */
int pool_close(struct pool_view *v, int result);
/* The slot has pages, and reads as zero: 0. */
int pool_zero(struct pool *p, uint32_t slot);
/* Of two pools, or of one. */
int pool_copy(struct pool *to, uint32_t slot, struct pool *from, uint32_t from_slot);
/* A slot of an earlier svmd has its pages. False: it is not there. */
bool pool_committed(struct pool *p, uint32_t slot);
/* Gives them back. */
void pool_release(struct pool *p, uint32_t slot);
/* After a restart: gives back what no granule has. */
void pools_sweep(struct mover *m);
void pools_free(struct mover *m);
