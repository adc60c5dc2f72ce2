#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * What a range is charged to: a short list of groups, its partition's the last one. Groups of different lists overlap
 * as they like (a control group may have ranges of several partitions), so there is no tree: each sum is made for
 * itself, and room is room in all of them.
 *
 *      range -- chain of a session -- session's group, control groups from the innermost on, the partition's
 *      range -- chain of a group ---- that group
 *
 * A chain is known to its groups while it has ranges. What changes hands takes its sums along; what of it waits for
 * room looks for another place, because the line that it stands in is its chain's.
 */
void chain_init(struct managed_chain *c) {
        c->count = 0;
        list_init(&c->link);
        list_init(&c->ranges);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                line_init(&c->lines[i]);
}

static void member_set(struct managed_chain *c, struct managed_group *g) {
        struct chain_member *m = &c->in[c->count++];

        *m = (struct chain_member){ .chain = c, .group = g };
        list_init(&m->by_group);
}

void chain_of_group(struct managed_chain *c, struct managed_group *g) {
        chain_init(c);
        member_set(c, g);
}

bool range_is_in(const struct managed_range *r, const struct managed_group *g) {
        const struct managed_group *at;

        for (unsigned i = 0; (at = range_group(r, i)); i++)
                if (at == g)
                        return true;
        return false;
}

uint64_t range_room(const struct managed *e, const struct managed_range *r, uint32_t node, enum room room) {
        uint64_t least = UINT64_MAX;
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++) {
                uint64_t left = group_room(e, g, node, room);

                least = left < least ? left : least;
        }
        return least;
}

void range_charge(struct managed *e, struct managed_range *r, uint32_t node, bool on) {
        struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (on)
                        group_charge(e, g, node, r->bytes);
                else
                        group_refund(e, g, node, r->bytes);
}

unsigned range_shares(const struct managed_range *r, uint32_t node, struct policy_share *ret) {
        const struct managed_group *g;
        unsigned count = 0;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                ret[count++] = group_share(g, node);
        return count;
}

bool range_gives(const struct managed *e, const struct managed_range *r, const struct managed_group *but, uint32_t node,
                 enum policy_turn turn) {
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (g != but && !group_gives(e, g, node, turn))
                        return false;
        return true;
}

/* ---- joining and leaving ---- */

/* What is on its way. */
static void count_works(struct managed_group *g, const struct managed_range *r, bool on) {
        uint64_t bytes = on ? r->bytes : -(uint64_t)r->bytes;

        list_for_each (it, &r->works) {
                const struct work *w = container_of(it, struct work, by_range);

                if (w->arrives)
                        g->nodes[w->node].arriving += bytes;
                list_for_each (l, &w->queue) {
                        const struct demand *d = container_of(l, struct demand, link);

                        if (d->evicts)
                                g->nodes[d->evicts - 1].evicting += bytes;
                }
        }
}

static void group_takes(struct managed *e, struct managed_group *g, struct managed_range *r) {
        g->granules += r->count;
        g->pinned += r->pinned;
        count_works(g, r, true);
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct group_node *n = &g->nodes[i];

                group_charge(e, g, i, managed_range_used(r, i));
                if (n->used > n->limit && managed_range_used(r, i))
                        n->floor = n->used;
        }
}

static void group_lets_go(struct managed *e, struct managed_group *g, struct managed_range *r) {
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                if (g->nodes[i].hand == r)
                        g->nodes[i].hand = NULL;
                if (g->nodes[i].order)
                        shortlist_forget(&g->nodes[i].order->shortlist, r);
                group_refund(e, g, i, managed_range_used(r, i));
        }
        count_works(g, r, false);
        g->pinned -= r->pinned;
        g->granules -= r->count;
}

void range_join(struct managed *e, struct managed_range *r, struct managed_chain *c) {
        r->chain = c;
        list_init(&r->by_chain);
        if (!c)
                return;
        for (unsigned i = 0; i < c->count; i++) {
                if (list_empty(&c->ranges))
                        list_push_back(&c->in[i].group->members, &c->in[i].by_group);
                group_takes(e, c->in[i].group, r);
        }
        list_push_back(&c->ranges, &r->by_chain);
}

void range_part(struct managed *e, struct managed_range *r) {
        struct managed_chain *c = r->chain;

        if (!c)
                return;
        list_for_each (it, &r->works) {
                struct work *w = container_of(it, struct work, by_range);

                if (w->parked_on) {
                        work_unpark(e, w);
                        work_todo(e, w);
                }
        }
        list_remove(&r->by_chain);
        for (unsigned i = 0; i < c->count; i++) {
                group_lets_go(e, c->in[i].group, r);
                if (list_empty(&c->ranges))
                        list_remove(&c->in[i].by_group);
        }
        r->chain = NULL;
}

/* ---- from outside ---- */

int managed_chain_new(struct managed *e, struct managed_chain **ret, struct managed_group *partition) {
        struct managed_chain *c = alloc_zero(sizeof(*c));

        if (!c)
                return -ENOMEM;
        chain_of_group(c, partition);
        list_push_back(&e->chains, &c->link);
        *ret = c;
        return 0;
}

void managed_chain_free(struct managed *e, struct managed_chain *c) {
        if (!c)
                return;
        while (!list_empty(&c->ranges)) {
                struct managed_range *r = container_of(c->ranges.next, struct managed_range, by_chain);

                range_part(e, r);
                range_join(e, r, &r->group->alone);
        }
        list_remove(&c->link);
        alloc_free(c);
        e->changes++;
}

static bool is_of(const struct managed_chain *c, struct managed_group *const *groups, unsigned count) {
        bool same = c->count == count + 1;

        for (unsigned i = 0; same && i < count; i++)
                same = c->in[i].group == groups[i];
        return same;
}

static void name_groups(struct managed_chain *c, struct managed_group *const *groups, unsigned count) {
        struct managed_group *partition = c->in[c->count - 1].group;

        c->count = 0;
        for (unsigned i = 0; i < count && i + 1 < MANAGED_CHAIN_MAX; i++) {
                groups[i]->rank = count - i;
                member_set(c, groups[i]);
        }
        member_set(c, partition);
}

void managed_chain_set(struct managed *e, struct managed_chain *c, struct managed_group *const *groups, unsigned count,
                       uint64_t now_ns) {
        struct list ranges;

        if (is_of(c, groups, count))
                return;
        list_init(&ranges);
        while (!list_empty(&c->ranges)) {
                struct managed_range *r = container_of(c->ranges.next, struct managed_range, by_chain);

                range_part(e, r);
                list_push_back(&ranges, &r->by_chain);
        }
        name_groups(c, groups, count);
        list_for_each_safe (it, &ranges) {
                list_remove(it);
                range_join(e, container_of(it, struct managed_range, by_chain), c);
        }
        e->now = now_ns;
        e->changes++;
        managed_run(e);
}

void managed_range_charge(struct managed *e, struct managed_range *r, struct managed_chain *c, uint64_t now_ns) {
        struct managed_chain *wanted = c ? c : r->group ? &r->group->alone : NULL;

        if (r->chain == wanted)
                return;
        range_part(e, r);
        range_join(e, r, wanted);
        e->now = now_ns;
        e->changes++;
        managed_run(e);
}
