#include "policy/policy.h"

/*
 * The clock's second chance: a granule that was in use since the hand last came by, within `chance_ns`, is passed over;
 * one that has not been is taken. What is pinned stays, and so does what has just been moved here. It goes to the node
 * that advice prefers, else to host memory, else to the node with the most room: never to one that is full.
 */
static const uint64_t chance_ns = 100 * 1000 * 1000;

static bool recent(uint64_t when_ns, uint64_t now_ns) {
        return when_ns && now_ns - when_ns < chance_ns;
}

static bool takes(const struct policy_machine *m, const struct policy_granule *g, uint32_t node, const uint64_t *room) {
        return node != g->where && m->nodes[node].online && room[node] >= g->bytes;
}

bool policy_give_way(uint64_t touched_ns, uint64_t now_ns) {
        return !recent(touched_ns, now_ns);
}

bool policy_evict(const struct policy_machine *m, const struct policy_advice *advice, const struct policy_granule *g,
                  uint64_t now_ns, const uint64_t *room, uint32_t *ret_to) {
        uint32_t to = POLICY_NOWHERE;

        if (advice->pinned || recent(g->touched_ns, now_ns))
                return false;
        if (advice->preferred && advice->preferred <= m->count && takes(m, g, advice->preferred - 1, room)) {
                *ret_to = advice->preferred - 1;
                return true;
        }
        for (uint32_t i = 0; i < m->count; i++) {
                if (!takes(m, g, i, room))
                        continue;
                if (to == POLICY_NOWHERE || m->nodes[i].host > m->nodes[to].host ||
                    (m->nodes[i].host == m->nodes[to].host && room[i] > room[to]))
                        to = i;
        }
        if (to == POLICY_NOWHERE)
                return false;
        *ret_to = to;
        return true;
}
