#include "engine/managed-priv.h"

/*
 * Works that wait for room stand in line: on each node one line for each chain (chain.c), and one for ranges of no
 * group. Who is first in a line waits for some of its groups, or for the node. It keeps those waiting who want what it
 * waits for, and nobody else: who is of none of the groups that are full does not wait for them. While it waits for the
 * node itself, nobody passes but who has room of its own there (a min). The lines take turns.
 */
void line_init(struct line *l) {
        list_init(&l->link);
        list_init(&l->parked);
}

static struct line *line_of(struct managed *e, const struct managed_range *r, uint32_t node) {
        return r->chain ? &r->chain->lines[node] : &e->nodes[node].line;
}

/* In what all groups of the range count. */
static void count_waiting(const struct managed_range *r, uint32_t node, uint32_t more) {
        struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                g->nodes[node].waiting += more;
}

static struct work *first(const struct line *l) {
        return container_of(l->parked.next, struct work, parked);
}

/* Waits until `node` has room for it; who had been let in and found none keeps its place. */
void work_park(struct managed *e, struct work *w, uint32_t node) {
        struct line *l = line_of(e, w->range, node);
        struct managed_group *g;

        w->parked_on = node + 1;
        if (w->turn)
                list_push_front(&l->parked, &w->parked);
        else
                list_push_back(&l->parked, &w->parked);
        if (!l->waiting++)
                list_push_back(&e->nodes[node].lines, &l->link);
        e->nodes[node].waiting++;
        count_waiting(w->range, node, 1);
        for (unsigned i = 0; (g = range_group(w->range, i)); i++)
                group_press(e, g, node);
}

void work_unpark(struct managed *e, struct work *w) {
        uint32_t node = w->parked_on - 1;
        struct line *l;

        if (!w->parked_on)
                return;
        l = line_of(e, w->range, node);
        list_remove(&w->parked);
        if (!--l->waiting)
                list_remove(&l->link);
        e->nodes[node].waiting--;
        count_waiting(w->range, node, -1u);
        w->parked_on = 0;
}

void line_dissolve(struct managed *e, struct line *l) {
        list_for_each_safe (it, &l->parked) {
                struct work *w = container_of(it, struct work, parked);

                work_unpark(e, w);
                work_todo(e, w);
        }
}

static const struct managed_range *first_in(const struct list *line) {
        return first(container_of(line, struct line, link))->range;
}

void line_dissolve_group(struct managed *e, const struct managed_group *g, uint32_t node) {
        list_for_each_safe (it, &e->nodes[node].lines)
                if (range_is_in(first_in(it), g))
                        line_dissolve(e, container_of(it, struct line, link));
}

const struct managed_range *line_beside(const struct managed *e, uint32_t node, const struct managed_range *r) {
        list_for_each (it, &e->nodes[node].lines) {
                const struct managed_range *waits = first_in(it);
                const struct managed_group *g;

                for (unsigned i = 0; (g = range_group(r, i)); i++)
                        if (range_is_in(waits, g))
                                return waits;
        }
        return NULL;
}

static bool is_blocked_but(const struct managed *e, const struct managed_range *r, const struct managed_group *but,
                           uint32_t node) {
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (g != but && group_blocks(e, g, node, r->bytes))
                        return true;
        return false;
}

bool line_for_group(const struct managed *e, const struct managed_group *g, uint32_t node, uint64_t *ret) {
        uint64_t room = group_room(e, g, node, ROOM_GRANT);
        bool any = false;

        *ret = 0;
        list_for_each (it, &e->nodes[node].lines) {
                const struct managed_range *r = first_in(it);

                if (!range_is_in(r, g) || is_blocked_but(e, r, g, node))
                        continue;
                any = true;
                if (r->bytes > room && r->bytes > *ret)
                        *ret = r->bytes;
        }
        return any;
}

const struct managed_range *line_for_node(const struct managed *e, uint32_t node, enum room room) {
        list_for_each (it, &e->nodes[node].lines) {
                const struct managed_range *r = first_in(it);

                if (range_room(e, r, node, room) >= r->bytes)
                        return r;
        }
        return NULL;
}

/* What keeps `waits` waiting is nothing that `r` wants. */
static bool waits_elsewhere(const struct managed *e, const struct managed_range *waits, const struct managed_range *r,
                            uint32_t node) {
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(waits, i)); i++)
                if (group_room(e, g, node, ROOM_TOUCH) < waits->bytes && !range_is_in(r, g))
                        return true;
        return false;
}

static bool has_min(const struct managed *e, const struct managed_range *r, uint32_t node) {
        const struct node *n = &e->nodes[node];
        struct policy_share own[MANAGED_CHAIN_MAX];

        return n->promises.min &&
               policy_share_fits_min(&n->promises, node_granted(n), own, range_shares(r, node, own), r->bytes);
}

bool line_ahead(struct managed *e, const struct managed_range *r, uint32_t node) {
        bool passes;

        if (list_empty(&e->nodes[node].lines))
                return false;
        if (line_of(e, r, node)->waiting)
                return true;
        passes = has_min(e, r, node);
        list_for_each (it, &e->nodes[node].lines) {
                const struct managed_range *waits = first_in(it);

                if (waits_elsewhere(e, waits, r, node))
                        continue;
                if (!passes || range_room(e, waits, node, ROOM_TOUCH) < waits->bytes)
                        return true;
        }
        return false;
}

/* Lets the first one in whose time has come. */
void line_admit(struct managed *e, uint32_t node) {
        list_for_each (it, &e->nodes[node].lines) {
                struct line *l = container_of(it, struct line, link);
                struct work *w = first(l);

                if (!room_fits(e, node, w->range, ROOM_TOUCH))
                        continue;
                work_unpark(e, w);
                w->turn = true;
                work_todo(e, w);
                if (l->waiting) {
                        list_remove(&l->link);
                        list_push_back(&e->nodes[node].lines, &l->link);
                }
                return;
        }
}
