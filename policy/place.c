#include <stddef.h>

#include "policy/policy.h"

/*
 * First touch: a page comes to life where it is used first, unless advice prefers another place, or names others for
 * when there is no room in that one. Without room where it is used it goes to the node that the accessor reaches best:
 * a peer of its hive, where the profile says so, else the one with the fastest link, and among equals a host, then the
 * one with most room. A host node is a candidate for everyone, since every node's pages can come back to it.
 */
static bool fits(const struct policy_machine *m, uint32_t node, uint64_t bytes, const uint64_t *room) {
        return node < m->count && m->nodes[node].online && room[node] >= bytes;
}

static uint32_t link_of(const struct policy_machine *m, uint32_t from, uint32_t to) {
        const uint32_t *bandwidth = from < m->count ? m->nodes[from].bandwidth : NULL;

        return bandwidth ? bandwidth[to] : 0;
}

/* Of those that advice names, in its order. */
static uint32_t advised(const struct policy_machine *m, const struct policy_advice *advice, uint64_t bytes,
                        const uint64_t *room) {
        if (advice->preferred && fits(m, advice->preferred - 1, bytes, room))
                return advice->preferred - 1;
        for (unsigned i = 0; i < POLICY_FALLBACKS && advice->fallback[i]; i++)
                if (fits(m, advice->fallback[i] - 1, bytes, room))
                        return advice->fallback[i] - 1;
        return POLICY_NOWHERE;
}

static bool better(const struct policy_machine *m, const struct policy_profile *p, uint32_t a, uint32_t b,
                   uint32_t accessor, const uint64_t *room) {
        bool peer_a = policy_peers(m, accessor, a), peer_b = policy_peers(m, accessor, b);
        uint32_t link_a = link_of(m, accessor, a), link_b = link_of(m, accessor, b);

        if (p->hive_first && peer_a != peer_b)
                return peer_a;
        if (link_a != link_b)
                return link_a > link_b;
        if (m->nodes[a].host != m->nodes[b].host)
                return m->nodes[a].host;
        return room[a] > room[b];
}

uint32_t policy_place(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, uint32_t accessor, uint64_t bytes, const uint64_t *room) {
        uint32_t best = advised(m, advice, bytes, room);

        if (best != POLICY_NOWHERE)
                return best;
        if (fits(m, accessor, bytes, room))
                return accessor;
        for (uint32_t i = 0; i < m->count; i++)
                if (fits(m, i, bytes, room) && (best == POLICY_NOWHERE || better(m, p, i, best, accessor, room)))
                        best = i;
        return best;
}
