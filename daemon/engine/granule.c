#include "engine/managed-priv.h"

/* Looking at a granule. */
const struct copy *granule_copy(const struct granule *g, uint32_t node) {
        const struct copy *c = g->copies;

        while (c && c->node != node)
                c = c->next;
        return c;
}

bool granule_lies_on(const struct granule *g, uint32_t node) {
        return (g->slot && g->node == node) || (g->host_slot && g->host == node) || granule_copy(g, node);
}

void granule_describe(const struct managed_range *r, const struct granule *g, struct policy_granule *ret) {
        *ret = (struct policy_granule){
                .where = g->slot && g->state != RESIDENCY_DUPLICATED ? g->node : g->host,
                .bytes = r->bytes,
                .moved_ns = g->moved_ns,
                .touched_ns = g->touched_ns,
                .moves = g->outs,
                .device_copy = g->copies != NULL,
        };
}

void managed_granule_info(const struct managed_range *r, uint32_t granule, struct managed_granule_info *ret) {
        const struct granule *g = &r->granules[granule];

        *ret = (struct managed_granule_info){
                .state = (enum residency)g->state,
                .node = g->slot        ? g->node
                        : g->host_slot ? g->host
                                       : MANAGED_NOWHERE,
                .slot = g->slot ? g->slot - 1 : MANAGED_NOWHERE,
                .outs = g->outs,
                .ins = g->ins,
                .pins = g->pins,
                .moved_ns = g->moved_ns,
                .touched_ns = g->touched_ns,
                .busy = g->work != NULL,
                .cause = (enum managed_cause)g->cause,
        };
        for (const struct copy *c = g->copies; c; c = c->next)
                ret->copies |= 1ull << c->node;
}
