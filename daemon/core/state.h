#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "base/tree.h"
#include "core/device_events.h"
#include "core/ids.h"
#include "core/ledger.h"

/*
 * Everything svmd knows, as plain objects that hang together:
 *
 *      state -- node (account, pool)
 *        |
 *        +-- domain -- window of addresses
 *        |      |
 *        +-- partition (slice, accounts, names)
 *               |
 *               +-- session (credentials, accounts, cgroup)
 *                      |-- reservation (VA) -- mappings of the CPU --+
 *                      |-- space (a device's table) -- mappings -----+--> memory (node, charge, extents of a file)
 *                      +-- holding ---------------------------------------^
 *
 * Objects are made by *_new(), which may fail and links nothing, and linked by *_link(), which cannot: so an operation
 * makes all it needs first, and undoing it is *_unlink(). Unlinking keeps an object whole, so that it can be linked
 * again.
 */
struct machine;
struct file;

struct node {
        struct account account;
        struct file *pool;    /* soft nodes */
        struct list memories; /* in the pool and may be spilled, least recently used first */
        void *device;         /* the service's: what runs it */
        uint64_t spaces, limited;
        uint64_t dmabufs;  /* the service's: bytes of them that are charged there */
        bool offline;      /* takes nothing new */
        bool lost;         /* offline because it is not there */
        char trouble[160]; /* why it is lost, where svmd itself saw that */
        uint64_t drain;    /* the service's: fence of who waits until it is empty, or 0 */
        struct device_events events;
};

struct state {
        const struct machine *machine;
        struct node *nodes; /* machine->count of them */
        struct ids ids;
        struct slab reservations;
        uint64_t next_id;
        struct tree partitions;         /* by name */
        struct tree domains;            /* by name: partition.h */
        struct tree processes, parties; /* struct peer: who has sessions */
        uint64_t numbered;              /* partitions, since svmd was started */
        struct list sessions;
        struct list cgroups; /* those with limits */
        struct list shares;  /* struct share, in the order of their ids */
        uint64_t partitions_count, sessions_count, reservations_count, memories_count, spaces_count, mappings_count;
};

/* -ENOMEM. The machine must outlive the state, which must not move. */
int state_init(struct state *s, const struct machine *machine);
/* No partitions may be left. */
void state_fini(struct state *s);
uint64_t state_take_id(struct state *s);
/* Invariants of ids, sums and links over all objects, while no operation is under way: 0, -EUCLEAN or -ENOMEM. For
 * tests. */
int state_check(struct state *s);
