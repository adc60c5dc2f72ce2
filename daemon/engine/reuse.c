#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * What the engine sees of the use of granules, for policy/reuse.h: every use by a device, since each begins and ends;
 * of the CPU the faults alone. It is kept with the granule, and so outlives its stay on a node.
 *
 * Beside it each node remembers which granules were used last, and a short list of those that seemed farthest from
 * being used again when the hand came by: what a scan has just left behind is in the one, what nobody comes back to in
 * the other. Entries may be out of date: whoever takes one looks whether the granule can go.
 *
 * Where all uses are seen, LRU is played beside (policy/rival.c), for a node and for each group that is at a limit; of
 * a range's groups for the innermost that is.
 */
static bool is_same(const struct owner *a, const struct owner *b) {
        return a->range == b->range && a->granule == b->granule;
}

static uint64_t lesser(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static struct group_node *limited_of(const struct managed *e, const struct managed_range *r, uint32_t node) {
        struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (g->nodes[node].order || g->nodes[node].limit < e->nodes[node].capacity)
                        return &g->nodes[node];
        return NULL;
}

/* Whose uses are compared: those of a group that has a limit there, else the node's; and the bytes that they have, what
 * is above until room has been made aside. */
static struct policy_rival *rival_of(struct managed *e, uint32_t node, const struct managed_range *r,
                                     uint64_t *ret_room) {
        struct group_node *of_group = limited_of(e, r, node);

        if (of_group && !of_group->order)
                of_group->order = alloc_zero(sizeof(*of_group->order));
        if (of_group && of_group->order) {
                *ret_room = lesser(of_group->used, of_group->limit);
                return &of_group->order->rival;
        }
        *ret_room = lesser(e->nodes[node].used, node_granted(&e->nodes[node]));
        return &e->nodes[node].order.rival;
}

static void compare(struct managed *e, uint32_t node, struct managed_range *r, const struct policy_reuse *reuse,
                    enum policy_found found) {
        struct policy_rival *rival;
        uint64_t room;

        if (e->nodes[node].host)
                return;
        rival = rival_of(e, node, r, &room);
        policy_compared(rival, reuse, e->uses, room / r->bytes, found);
}

static void use(struct managed *e, uint32_t node, struct managed_range *r, struct granule *g, enum policy_found found) {
        struct node *n = &e->nodes[node];
        struct owner o = { .range = r, .granule = (uint32_t)(g - r->granules) };

        compare(e, node, r, &g->reuse, found);
        policy_used(&g->reuse, &e->uses);
        if (is_same(&n->recent[n->recent_next], &o))
                return;
        n->recent_next = (n->recent_next + 1) % RECENT;
        n->recent[n->recent_next] = o;
}

void reuse_use(struct managed *e, struct managed_range *r, struct granule *g) {
        uint32_t slot = g->slot;

        if (slot && g->state != RESIDENCY_DUPLICATED && !e->nodes[g->node].host)
                age_use(node_pool(e, g->node, r, &slot), slot);
        use(e, g->slot && g->state != RESIDENCY_DUPLICATED ? g->node : g->host, r, g, POLICY_THERE);
}

void reuse_miss(struct managed *e, uint32_t node, struct managed_range *r, struct granule *g) {
        policy_missed(&e->nodes[node].haste, &g->reuse, e->uses, e->nodes[node].used / r->bytes);
        use(e, node, r, g, g->cause == MANAGED_BY_EVICTION ? POLICY_LET_GO : POLICY_NEW);
}

void reuse_leave(struct managed *e, uint32_t node, struct managed_range *r, const struct granule *g) {
        uint64_t room;

        policy_left(&e->nodes[node].haste);
        if (!e->nodes[node].host)
                policy_let_go(rival_of(e, node, r, &room), &g->reuse);
}

/* LRU brings it, too, if it has not got it. */
void reuse_bring(struct managed *e, uint32_t node, struct managed_range *r, struct granule *g) {
        struct policy_reuse before = g->reuse;

        policy_brought(&g->reuse, e->uses);
        if (g->reuse.last != before.last)
                compare(e, node, r, &before, g->cause == MANAGED_BY_EVICTION ? POLICY_LET_GO : POLICY_NEW);
}

struct policy_haste reuse_haste(const struct managed *e, uint32_t node, const struct managed_group *group) {
        const struct order *order = group ? group->nodes[node].order : &e->nodes[node].order;
        struct policy_haste h = e->nodes[node].haste;

        if (order && !e->nodes[node].host)
                policy_bound(&order->rival, e->uses, &h);
        return h;
}

uint64_t reuse_away(const struct managed *e, const struct policy_haste *h, const struct owner *o) {
        return e->c.decide.away(&granule_of(o->range, o->granule)->reuse, h, e->uses);
}

void shortlist_drop(struct shortlist *s, uint32_t i) {
        s->count--;
        s->granule[i] = s->granule[s->count];
        s->away[i] = s->away[s->count];
}

void shortlist_offer(struct shortlist *s, const struct owner *o, uint64_t away) {
        uint32_t at = 0;

        for (uint32_t i = 0; i < s->count; i++)
                if (is_same(&s->granule[i], o))
                        return;
        if (s->count < SHORTLIST)
                at = s->count++;
        else {
                for (uint32_t i = 1; i < SHORTLIST; i++)
                        at = s->away[i] < s->away[at] ? i : at;
                if (s->away[at] >= away)
                        return;
        }
        s->granule[at] = *o;
        s->away[at] = away;
}

void shortlist_forget(struct shortlist *s, const struct managed_range *r) {
        for (uint32_t i = s->count; i-- > 0;)
                if (s->granule[i].range == r)
                        shortlist_drop(s, i);
}

void reuse_forget(struct managed *e, const struct managed_range *r) {
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct node *n = &e->nodes[i];

                for (uint32_t k = 0; k < RECENT; k++)
                        if (n->recent[k].range == r)
                                n->recent[k].range = NULL;
                shortlist_forget(&n->order.shortlist, r);
        }
}
