#include "engine/managed-priv.h"

/*
 * What comes along with a fault. Policy names a run of granules around it; those of them that lie elsewhere are asked
 * for behind it, as a hint that nobody waits for: one that has no room, moved just now, or is wished elsewhere stays.
 * The faults of the CPU and those of devices are streams of their own.
 */
static bool is_on(const struct managed *e, const struct managed_range *r, const struct granule *g, uint32_t node) {
        return e->nodes[node].host ? g->host_slot != 0 : granule_lies_on(r, g, node);
}

static bool may_come(struct managed *e, struct managed_range *r, uint32_t i, uint32_t node) {
        const struct granule *g = granule_of(r, i);
        struct policy_advice advice = { 0 };

        if (g->work || g->pins || granule_lost(g) || is_on(e, r, g, node))
                return false;
        if (g->state != RESIDENCY_OUT && (g->state != RESIDENCY_RESIDENT || e->nodes[node].host))
                return false;
        if (e->c.advice)
                e->c.advice(e->c.userdata, r->userdata, i, &advice);
        return !advice.pinned && (!advice.preferred || advice.preferred - 1 == node);
}

void around_bring(struct managed *e, struct work *w, uint32_t node) {
        struct managed_range *r = w->range;
        uint32_t block = POLICY_BLOCK / r->bytes, at = granule_index(w), start = at - at % block, first = at, run = 0;
        bool host = e->nodes[node].host;
        uint64_t resident[POLICY_BLOCK / 4096 / 64] = { 0 };
        struct policy_fault f = { .at = at, .count = r->count, .bytes = r->bytes, .resident = resident };
        struct demand d = { .event = host ? MANAGED_TO_HOST : MANAGED_TO_NODE,
                            .cause = MANAGED_BY_PREFETCH,
                            .node = node };
        struct policy_advice advice = { 0 };

        for (uint32_t i = 0; i < block && start + i < r->count; i++)
                if (is_on(e, r, granule_of(r, start + i), node))
                        resident[i / 64] |= 1ull << i % 64;
        serve_advice(e, w, &advice);
        e->c.decide.prefetch(&advice, &f, &r->stream[!host], &first, &run);
        for (uint32_t i = first; i < r->count && i - first < run; i++)
                if (may_come(e, r, i, node))
                        demand_add(e, r, i, &d, false);
}
