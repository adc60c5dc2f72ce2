#include <stddef.h>

#include "policy/policy.h"

/*
 * First touch: a page comes to life where it is used first, unless advice prefers another place. Without room there it
 * goes to the node that the accessor reaches best: the one with the fastest link, and among equals the one with most
 * room. A host node is a candidate for everyone, since every node's pages can come back to it.
 */
static bool fits(const struct policy_machine *m, uint32_t node, uint64_t bytes, const uint64_t *room) {
        return node < m->count && m->nodes[node].online && room[node] >= bytes;
}

static uint32_t link_of(const struct policy_machine *m, uint32_t from, uint32_t to) {
        const uint32_t *bandwidth = from < m->count ? m->nodes[from].bandwidth : NULL;

        return bandwidth ? bandwidth[to] : 0;
}

static bool better(const struct policy_machine *m, uint32_t a, uint32_t b, uint32_t accessor, const uint64_t *room) {
        uint32_t link_a = link_of(m, accessor, a), link_b = link_of(m, accessor, b);

        if (link_a != link_b)
                return link_a > link_b;
        if (m->nodes[a].host != m->nodes[b].host)
                return m->nodes[a].host;
        return room[a] > room[b];
}

uint32_t policy_place(const struct policy_machine *m, const struct policy_advice *advice, uint32_t accessor,
                      uint64_t bytes, const uint64_t *room) {
        uint32_t best = POLICY_NOWHERE;

        if (advice->preferred && fits(m, advice->preferred - 1, bytes, room))
                return advice->preferred - 1;
        if (fits(m, accessor, bytes, room))
                return accessor;
        for (uint32_t i = 0; i < m->count; i++)
                if (fits(m, i, bytes, room) && (best == POLICY_NOWHERE || better(m, i, best, accessor, room)))
                        best = i;
        return best;
}
