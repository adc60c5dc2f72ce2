#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Groups: limits of a partition, a session or a control group, a node each. A slot is charged to its node and to all
 * groups of its range (chain.c).
 *
 *     0                  granted                limit       for touches and evictions       + workers x largest
 *     |-------------------------------------------|---------------------------------------------------|
 *
 * A touch or an eviction may pass limits as it may take out of a node's reserve, and is counted with those that have:
 * so what passes is bounded over all nodes and groups together, and a swap goes on with every node of the group full.
 * What is above the limit is a debt, paid by the group's own granules: first of those that other groups say least of.
 *
 * A group's min on a node is kept free for it, and its low protects it second to that (policy/share.h): the node counts
 * what all groups, and those who are none, have not used of their mins.
 *
 * When a limit is lowered under what is used, it may be that not all of that has a place elsewhere. Until it has left
 * touches swap above what is left of it, the floor.
 */
static uint64_t above(uint64_t limit, uint64_t more) {
        return limit + more < limit ? UINT64_MAX : limit + more;
}

static uint64_t passing(const struct managed *e) {
        return (uint64_t)e->c.workers * e->c.largest;
}

/* For touches and evictions, and more than which nothing takes. */
static uint64_t passed_at_most(const struct managed *e, const struct group_node *n) {
        return above(n->limit > n->floor ? n->limit : n->floor, passing(e));
}

static uint64_t limit_of(const struct managed *e, const struct group_node *n, enum room room) {
        if (room == ROOM_GRANT || !n->limit || e->reserve_works + (room == ROOM_TOUCH) >= e->c.workers)
                return n->limit;
        return passed_at_most(e, n);
}

bool group_blocks(const struct managed *e, const struct managed_group *g, uint32_t node, uint64_t bytes) {
        const struct group_node *n = &g->nodes[node];

        return !n->limit || room_under(passed_at_most(e, n), n->used) < bytes;
}

uint64_t group_room(const struct managed *e, const struct managed_group *g, uint32_t node, enum room room) {
        const struct group_node *n = &g->nodes[node];

        return room_under(limit_of(e, n, room), n->used);
}

/* ---- min and low ---- */

struct policy_share group_share(const struct managed_group *g, uint32_t node) {
        const struct group_node *n = &g->nodes[node];

        return (struct policy_share){ .used = n->used, .min = n->min, .low = n->low, .high = UINT64_MAX };
}

bool group_gives(const struct managed *e, const struct managed_group *g, uint32_t node, enum policy_turn turn) {
        const struct node *n = &e->nodes[node];
        struct policy_share s;

        if (!g->nodes[node].min && !g->nodes[node].low)
                return true;
        s = group_share(g, node);
        s.used -= g->nodes[node].evicting;
        return policy_share_gives(&n->promises, node_granted(n), &s, turn);
}

/* What its promise is, counted into the node's or out of them. */
static void promise(struct managed *e, const struct managed_group *g, uint32_t node, bool on) {
        struct policy_share s = group_share(g, node);
        struct node *n = &e->nodes[node];

        if (!s.min && !s.low)
                return;
        n->promises.min += on ? s.min : -s.min;
        n->promises.unused += on ? policy_unused(&s) : -policy_unused(&s);
        n->protected += on ? 1 : -1u;
}

/* What an inner group lets go is a relief to those around it. */
void group_press(struct managed *e, struct managed_group *g, uint32_t node) {
        struct list *at = e->press.next;

        g->pressed |= 1ull << node;
        if (!list_empty(&g->press))
                return;
        while (at != &e->press && container_of(at, struct managed_group, press)->rank >= g->rank)
                at = at->next;
        list_insert_before(at, &g->press);
}

void group_charge(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes) {
        struct group_node *n = &g->nodes[node];

        promise(e, g, node, false);
        n->used += bytes;
        promise(e, g, node, true);
        n->peak = n->used > n->peak ? n->used : n->peak;
        if (n->used > n->limit)
                group_press(e, g, node);
}

void group_refund(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes) {
        struct group_node *n = &g->nodes[node];

        promise(e, g, node, false);
        n->used -= bytes;
        promise(e, g, node, true);
        n->floor = n->floor < n->used ? n->floor : n->used;
}

/* Whether a granule can still leave host memory for another one when so many bytes more are pinned. */
bool group_may_pin(const struct managed *e, const struct managed_group *g, const struct managed_range *r,
                   uint64_t bytes) {
        uint64_t limit = 0;

        for (uint32_t i = 0; i < e->nodes_count; i++)
                limit = e->nodes[i].host ? above(limit, g->nodes[i].limit) : limit;
        return g->pinned + bytes + r->bytes <= limit;
}

uint64_t group_excess(const struct managed *e, const struct managed_group *g, uint32_t node, bool *ret_pressing) {
        const struct group_node *n = &g->nodes[node];
        uint64_t need = room_under(n->used - n->arriving, n->limit), wanted = 0;

        *ret_pressing =
                (n->waiting && line_for_group(e, g, node, &wanted)) || (need && n->used > limit_of(e, n, ROOM_EVICT));
        return need < wanted ? wanted : need;
}

/* The first from `from` on that has a place on a host, or the range's end: most of a range may be empty. */
static uint32_t next_on_host(const struct managed_range *r, uint32_t from) {
        for (uint32_t word = from / 64; word * 64 < r->count; word++) {
                uint64_t bits = r->on_host[word];

                if (word == from / 64)
                        bits &= UINT64_MAX << from % 64;
                if (bits)
                        return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
        return r->count;
}

static struct managed_range *first_of(const struct list *members) {
        const struct chain_member *m = container_of(members, struct chain_member, by_group);

        return container_of(m->chain->ranges.next, struct managed_range, by_chain);
}

/* The group's next range; NULL: that was the last. */
static struct managed_range *next_range(const struct managed_group *g, const struct managed_range *r) {
        if (r->by_chain.next != &r->chain->ranges)
                return container_of(r->by_chain.next, struct managed_range, by_chain);
        for (unsigned i = 0; i < r->chain->count; i++)
                if (r->chain->in[i].group == g && r->chain->in[i].by_group.next != &g->members)
                        return first_of(r->chain->in[i].by_group.next);
        return NULL;
}

struct managed_range *group_advance(struct managed_group *g, uint32_t node, bool host, uint32_t *ret_granule,
                                    uint64_t *passed) {
        struct group_node *n = &g->nodes[node];
        uint32_t from = n->hand ? n->hand_granule : 0, at;

        if (!n->hand)
                n->hand = first_of(g->members.next);
        at = host ? next_on_host(n->hand, from) : from;
        if (at < n->hand->count) {
                *passed += at + 1 - from;
                n->hand_granule = at + 1;
                *ret_granule = at;
                return n->hand;
        }
        *passed += n->hand->count - from;
        n->hand = next_range(g, n->hand);
        n->hand_granule = 0;
        return NULL;
}

/* After a restart nobody knows what has a place elsewhere. What is there may stay, and one more come for a swap. */
void group_restored(struct managed *e, struct managed_group *g) {
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct group_node *n = &g->nodes[i];

                n->floor = room_under(n->used + e->c.largest, passing(e));
                if (n->floor <= n->limit)
                        n->floor = 0;
                group_press(e, g, i);
        }
}

int managed_group_new(struct managed *e, struct managed_group **ret) {
        struct managed_group *g = alloc_zero(sizeof(*g));

        if (!g)
                return -ENOMEM;
        list_init(&g->members);
        list_init(&g->press);
        flow_init(&g->flow);
        chain_of_group(&g->alone, g);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                g->nodes[i].limit = UINT64_MAX;
        list_push_back(&e->groups, &g->link);
        *ret = g;
        return 0;
}

void group_destroy(struct managed_group *g) {
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                alloc_free(g->nodes[i].order);
        alloc_free(g);
}

void managed_group_free(struct managed *e, struct managed_group *g) {
        if (!g)
                return;
        list_remove(&g->link);
        list_remove(&g->press);
        for (uint32_t i = 0; i < e->nodes_count; i++)
                promise(e, g, i, false);
        group_destroy(g);
}

static void set_limit(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes) {
        struct group_node *n = &g->nodes[node];

        n->floor = n->used > bytes ? n->used : 0;
        n->limit = bytes;
        if (!bytes)
                line_dissolve_group(e, g, node); /* they have to look for another place */
        group_press(e, g, node);
}

void managed_group_limit(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes, uint64_t now_ns) {
        e->now = now_ns;
        set_limit(e, g, node, bytes);
        e->changes++;
        managed_run(e);
}

static void set_bounds(struct managed *e, struct managed_group *g, uint32_t node, const struct managed_bounds *b) {
        promise(e, g, node, false);
        g->nodes[node].min = b->min;
        g->nodes[node].low = b->low;
        promise(e, g, node, true);
        if (b->max != g->nodes[node].limit)
                set_limit(e, g, node, b->max);
}

void managed_share_node(struct managed *e, uint32_t node, const struct managed_node_share *s,
                        const struct managed_group_bounds *of, unsigned count, uint64_t now_ns) {
        struct node *n = &e->nodes[node];

        e->now = now_ns;
        n->capacity = e->shape[node].capacity = s->capacity;
        n->promises.min += s->kept - n->kept;
        n->promises.unused += s->kept - n->kept;
        n->kept = s->kept;
        for (unsigned i = 0; i < count; i++)
                set_bounds(e, of[i].group, node, &of[i].bounds);
        e->changes++;
        managed_run(e);
}

void managed_group_profile(struct managed_group *g, const struct policy_profile *p) {
        if (p)
                g->own = *p;
        g->profile = p ? &g->own : NULL;
}

uint64_t managed_group_limit_of(const struct managed_group *g, uint32_t node) {
        return g->nodes[node].limit;
}

uint64_t managed_group_pinned(const struct managed_group *g) {
        return g->pinned;
}

void managed_group_used(const struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak) {
        if (ret_used)
                *ret_used = g->nodes[node].used;
        if (ret_peak)
                *ret_peak = g->nodes[node].peak;
}
