#include "engine/managed-priv.h"

/*
 * One clock a node: the hand goes around its slots and asks policy of each granule whether to take it and where to.
 * Room is made when somebody waits for it, when more is used than may be granted (a debt to the reserve, a node that
 * shrank), and when the node is to be empty. The debt is paid only out of what others may be granted; for those that
 * wait, another node's reserve will do. When the first lap finds nothing, the second one takes what policy would not,
 * and granules whose own demand waits for room.
 *
 * Copies for reading are the first to go: they need no place elsewhere.
 */
enum { ROUND_POLICY, ROUND_ANY, ROUND_WAITING, _ROUND_N };

static bool evictable(const struct managed *e, uint32_t node, const struct owner *o, unsigned round) {
        const struct granule *g;

        if (!o->range || !o->range->settled || o->range->ending)
                return false;
        g = &o->range->granules[o->granule];
        if (g->pins || (g->work && (round != ROUND_WAITING || !g->work->parked_on)))
                return false;
        switch ((enum residency)g->state) {
        case RESIDENCY_RESIDENT: return e->nodes[node].host;
        case RESIDENCY_OUT:
        case RESIDENCY_REVOKED: return g->slot && g->node == node;
        case RESIDENCY_DUPLICATED: return true;
        case RESIDENCY_EMPTY:
        case RESIDENCY_COPYING:
        case RESIDENCY_PUNCHING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING:
        case RESIDENCY_CONTINUING: break;
        }
        return false;
}

uint32_t evict_to(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t from, uint32_t wish,
                  bool pressing) {
        bool hosts = granule_of(r, granule)->state == RESIDENCY_OUT;
        uint32_t to;

        if (wish < e->nodes_count && wish != from && (hosts || !e->nodes[wish].host) &&
            node_fits(e, wish, r, ROOM_GRANT) && !e->nodes[wish].waiting)
                return wish;
        to = node_freest(e, r, ROOM_GRANT, from, hosts);
        if (to == MANAGED_NOWHERE && pressing)
                to = node_freest(e, r, ROOM_EVICT, from, hosts);
        return to;
}

/* What policy says of taking the granule. */
bool evict_wanted(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t *ret_to) {
        struct policy_machine m = { e->shape, e->nodes_count };
        struct policy_advice advice = { 0 };
        uint64_t room[MANAGED_NODES_MAX];
        struct policy_granule pg;

        if (e->c.advice)
                e->c.advice(e->c.userdata, r->userdata, granule, &advice);
        granule_describe(r, granule_of(r, granule), &pg);
        node_room(e, r, room);
        return e->c.decide.evict(&m, &advice, &pg, e->now, room, ret_to);
}

static bool policy_takes(struct managed *e, const struct owner *o, uint32_t *ret_to) {
        const struct granule *g = granule_of(o->range, o->granule);

        return e->now - g->moved_ns >= e->c.minimum_ns && evict_wanted(e, o->range, o->granule, ret_to);
}

/* Begins to move what lies in the slot. */
static bool evict(struct managed *e, uint32_t node, const struct owner *o, unsigned round, bool pressing) {
        struct granule *g = granule_of(o->range, o->granule);
        struct demand d = { .cause = MANAGED_BY_EVICTION, .forced = true, .evicts = node + 1 };
        struct work *parked = g->work;
        uint32_t wish = MANAGED_NOWHERE;

        if (round == ROUND_POLICY && !policy_takes(e, o, &wish))
                return false;
        d.cause = e->nodes[node].draining ? MANAGED_BY_DRAIN : MANAGED_BY_EVICTION;
        if (g->state == RESIDENCY_DUPLICATED && !e->nodes[node].host)
                d.event = MANAGED_UNDUPLICATE;
        else {
                d.node = evict_to(e, o->range, o->granule, node, wish, pressing);
                if (d.node == MANAGED_NOWHERE)
                        return false;
                d.event = e->nodes[d.node].host ? MANAGED_TO_HOST : MANAGED_TO_NODE;
        }
        if (demand_add(e, o->range, o->granule, &d, true)) {
                if (g->work)
                        work_put(e, g->work);
                return false;
        }
        if (parked)
                work_unpark(e, parked);
        e->nodes[node].evicting += o->range->bytes;
        return true;
}

/* The next slot under the hand; false at the end of a lap. */
static bool advance(struct node *n) {
        if (++n->hand < n->pool[n->hand_class].high)
                return true;
        n->hand = 0;
        n->hand_class = (n->hand_class + 1) % CLASSES;
        return n->hand_class;
}

static bool evict_one(struct managed *e, uint32_t node, bool pressing) {
        struct node *n = &e->nodes[node];
        uint64_t slots = 0;

        for (unsigned c = 0; c < CLASSES; c++)
                slots += n->pool[c].high;
        for (unsigned round = ROUND_POLICY; round < _ROUND_N; round++) {
                if (round == ROUND_WAITING && !pressing)
                        break;
                for (uint64_t i = 0; i < slots + CLASSES; i++) {
                        const struct pool *p = &n->pool[n->hand_class];
                        const struct owner *o = n->hand < p->high ? &p->owners[n->hand] : NULL;

                        advance(n);
                        if (o && evictable(e, node, o, round) && evict(e, node, o, round, pressing))
                                return true;
                }
        }
        return false;
}

/* Bytes that have to leave. */
static uint64_t excess(const struct managed *e, uint32_t node, bool *ret_pressing) {
        const struct node *n = &e->nodes[node];
        uint64_t grant = n->capacity > n->reserve ? n->capacity - n->reserve : 0, need = 0;

        *ret_pressing = n->waiting || n->draining || n->used > n->capacity;
        if (!e->shape[node].online)
                return n->used;
        if (n->used > grant)
                need = n->used - grant;
        if (n->waiting) {
                const struct work *w = container_of(n->parked.next, struct work, parked);

                if (!node_fits(e, node, w->range, ROOM_GRANT) && need < w->range->bytes)
                        need = w->range->bytes;
        }
        return need;
}

static void admit(struct managed *e, struct node *n, uint32_t node) {
        struct work *w = container_of(n->parked.next, struct work, parked);

        if (!node_fits(e, node, w->range, ROOM_TOUCH))
                return;
        work_unpark(e, w);
        w->turn = true;
        work_todo(e, w);
}

static void drained(struct managed *e, struct node *n) {
        uint64_t token = n->drain_token;

        n->draining = false;
        n->drain_token = 0;
        if (token)
                e->c.done(e->c.userdata, token, 0);
}

void evict_run(struct managed *e) {
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct node *n = &e->nodes[i];
                bool pressing;
                uint64_t need;

                if (n->draining && !n->used)
                        drained(e, n);
                if (n->waiting)
                        admit(e, n, i);
                need = excess(e, i, &pressing);
                if (need <= n->evicting || n->barren == e->changes + 1)
                        continue;
                while (n->evicting < need)
                        if (!evict_one(e, i, pressing)) {
                                n->barren = e->changes + 1;
                                break;
                        }
        }
}

static bool victim_of(const struct managed *e, uint32_t node, const struct owner *o, uint64_t cgroup) {
        return evictable(e, node, o, ROUND_ANY) && granule_of(o->range, o->granule)->cgroup == cgroup;
}

bool evict_in_cgroup(struct managed *e, uint64_t cgroup, struct work *resumes) {
        if (e->settling)
                return false;
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct node *n = &e->nodes[i];

                for (unsigned c = 0; n->host && c < CLASSES; c++) {
                        const struct pool *p = &n->pool[c];

                        for (uint32_t k = 0; k < p->high; k++) {
                                const struct owner *o = &p->owners[(n->hand + k) % p->high];
                                struct demand d = { .event = MANAGED_TO_NODE,
                                                    .cause = MANAGED_BY_EVICTION,
                                                    .forced = true,
                                                    .resumes = resumes };

                                if (!victim_of(e, i, o, cgroup))
                                        continue;
                                d.node = evict_to(e, o->range, o->granule, i, MANAGED_NOWHERE, true);
                                if (d.node == MANAGED_NOWHERE || demand_add(e, o->range, o->granule, &d, true))
                                        return false;
                                resumes->waits = true;
                                return true;
                        }
                }
        }
        return false;
}
