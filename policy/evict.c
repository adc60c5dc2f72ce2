#include "policy/policy.h"

/*
 * Which granule goes is told from when it will be used again (reuse.c); here is whether it may go, and where to. What
 * is pinned stays. It goes to the node that advice prefers, to the first of the fallbacks that has room, else
 *
 *     from a device                 to a host, else to another device; before that to one of its hive, where the
 *                                   profile says so (`evict-to-peer`)
 *     from a host                   to the nearest host without CPUs, else to the nearest one with, else to a device
 *     from a host without CPUs      to another one, else to a device, else to a host with CPUs
 *
 * and of equals to the one with the most room: never to one that is full.
 */
static bool takes(const struct policy_machine *m, const struct policy_granule *g, uint32_t node, const uint64_t *room) {
        return node != g->where && m->nodes[node].online && room[node] >= g->bytes;
}

enum { UNSTATED = 255 };

static uint32_t distance(const struct policy_machine *m, uint32_t from, uint32_t to) {
        const uint32_t *stated = m->nodes[from].distance;

        return stated && stated[to] ? stated[to] : UNSTATED;
}

/* Less is better; of hosts' the nearer one. */
static uint64_t rank(const struct policy_machine *m, const struct policy_profile *p, uint32_t from, uint32_t to) {
        const struct policy_node *a = &m->nodes[from], *b = &m->nodes[to];
        uint64_t kind = b->far ? 0 : 1 + (b->host == a->far);

        if (!a->host)
                return p->evict_to_peer && policy_peers(m, from, to) ? 0 : b->host ? 1 : 2;
        return kind << 32 | distance(m, from, to);
}

bool policy_give_way(const struct policy_profile *p, uint64_t touched_ns, uint64_t now_ns) {
        return !touched_ns || now_ns - touched_ns >= p->chance_ms * 1000000ull;
}

/* Fallbacks are for what cannot be on the preferred node: what is on it leaves for the first of them. */
static bool wished(const struct policy_machine *m, const struct policy_advice *advice, const struct policy_granule *g,
                   const uint64_t *room, uint32_t *ret_to) {
        for (unsigned i = 0; i <= POLICY_FALLBACKS; i++) {
                uint32_t wish = i ? advice->fallback[i - 1] : advice->preferred;

                if (!wish || wish > m->count || !takes(m, g, wish - 1, room))
                        continue;
                *ret_to = wish - 1;
                return true;
        }
        return false;
}

bool policy_evict(const struct policy_machine *m, const struct policy_profile *p, const struct policy_advice *advice,
                  const struct policy_granule *g, uint64_t now_ns, const uint64_t *room, uint32_t *ret_to) {
        uint32_t to = POLICY_NOWHERE;
        uint64_t least = 0;

        if (advice->pinned)
                return false;
        if (wished(m, advice, g, room, ret_to))
                return true;
        for (uint32_t i = 0; i < m->count; i++) {
                uint64_t is;

                if (!takes(m, g, i, room))
                        continue;
                is = rank(m, p, g->where, i);
                if (to == POLICY_NOWHERE || is < least || (is == least && room[i] > room[to])) {
                        to = i;
                        least = is;
                }
        }
        if (to == POLICY_NOWHERE)
                return false;
        *ret_to = to;
        return true;
}
