#pragma once

#include "base/histogram.h"
#include "engine/managed.h"

/*
 * What the engine has done since it was made, as sums: nothing is allocated for them, and a restart begins anew.
 *
 * A fault is served from when the engine heard of it until whoever waited may go on; faults that met one which was
 * being served already are part of that one. A move takes from when it was begun, with room for it taken, until the
 * granule's state says that it has ended.
 */
enum { MANAGED_CAUSES = MANAGED_BY_RESTART + 1 };

struct managed_figures {
        struct histogram cpu_faults, device_faults;
        struct histogram moves[MANAGED_CAUSES]; /* and copies to read */
};
void managed_figures(const struct managed *e, struct managed_figures *ret);

/* Of a group, or of a node: what it has lost or got. */
struct managed_traffic {
        uint64_t cpu_faults, device_faults; /* a node: of its device's */
        uint64_t evictions, evicted;        /* granules that left to make room; bytes */
};
void managed_node_traffic(const struct managed *e, uint32_t node, struct managed_traffic *ret);
void managed_group_traffic(const struct managed_group *g, struct managed_traffic *ret);

/* From one node to another: granules that have moved or been copied, and their bytes. */
struct managed_flown {
        uint64_t moves, bytes;
};
void managed_flown(const struct managed *e, uint32_t from, uint32_t to, struct managed_flown *ret);
