#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Groups: limits of one partition, a node each. A slot is charged to its node and to the group of its range.
 *
 *     0                  granted                limit       for touches and evictions       + workers x largest
 *     |-------------------------------------------|---------------------------------------------------|
 *
 * A touch or an eviction may pass the limit as it may take out of a node's reserve: it is counted with those that have,
 * so what passes is bounded over all nodes and groups together, and a swap goes on with every node of the group full.
 */
static uint64_t above(uint64_t limit, uint64_t more) {
        return limit + more < limit ? UINT64_MAX : limit + more;
}

uint64_t group_limit(const struct managed *e, const struct managed_group *g, uint32_t node, enum room room) {
        uint64_t limit = g ? g->nodes[node].limit : UINT64_MAX;

        if (room == ROOM_GRANT || !limit || e->reserve_works + (room == ROOM_TOUCH) >= e->c.workers)
                return limit;
        return above(limit, (uint64_t)e->c.workers * e->c.largest);
}

uint64_t group_used(const struct managed_group *g, uint32_t node) {
        return g ? g->nodes[node].used : 0;
}

void group_charge(struct managed_group *g, uint32_t node, uint64_t bytes) {
        struct group_node *n = g ? &g->nodes[node] : NULL;

        if (!n)
                return;
        n->used += bytes;
        n->peak = n->used > n->peak ? n->used : n->peak;
}

void group_refund(struct managed_group *g, uint32_t node, uint64_t bytes) {
        if (g)
                g->nodes[node].used -= bytes;
}

int managed_group_new(struct managed *e, struct managed_group **ret) {
        struct managed_group *g = alloc_zero(sizeof(*g));

        if (!g)
                return -ENOMEM;
        list_init(&g->ranges);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                g->nodes[i].limit = UINT64_MAX;
        list_push_back(&e->groups, &g->link);
        *ret = g;
        return 0;
}

void managed_group_free(struct managed *e, struct managed_group *g) {
        if (!g)
                return;
        list_remove(&g->link);
        alloc_free(g);
}

void managed_group_limit(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes, uint64_t now_ns) {
        e->now = now_ns;
        g->nodes[node].limit = bytes;
        e->changes++;
        managed_run(e);
}

void managed_group_used(const struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak) {
        if (ret_used)
                *ret_used = g->nodes[node].used;
        if (ret_peak)
                *ret_peak = g->nodes[node].peak;
}
