#include "engine/managed-priv.h"

/*
 * Works that wait for room stand in line: on each node one line for each group, and one for ranges of no group. Who is
 * first in a line waits for its group or for the node. A group at its limit keeps nobody else waiting; while somebody
 * waits for the node itself, nobody passes but who has room of its own there (a min), and the lines take turns.
 */
void line_init(struct line *l) {
        list_init(&l->link);
        list_init(&l->parked);
}

static struct line *line_of(struct managed *e, const struct managed_range *r, uint32_t node) {
        return r->group ? &r->group->nodes[node].line : &e->nodes[node].line;
}

static struct work *first(const struct line *l) {
        return container_of(l->parked.next, struct work, parked);
}

/* Waits until `node` has room for it; who had been let in and found none keeps its place. */
void work_park(struct managed *e, struct work *w, uint32_t node) {
        struct line *l = line_of(e, w->range, node);

        w->parked_on = node + 1;
        if (w->turn)
                list_push_front(&l->parked, &w->parked);
        else
                list_push_back(&l->parked, &w->parked);
        if (!l->waiting++)
                list_push_back(&e->nodes[node].lines, &l->link);
        e->nodes[node].waiting++;
        group_press(e, w->range->group, node);
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
        w->parked_on = 0;
}

void line_dissolve(struct managed *e, struct line *l) {
        list_for_each_safe (it, &l->parked) {
                struct work *w = container_of(it, struct work, parked);

                work_unpark(e, w);
                work_todo(e, w);
        }
}

const struct managed_range *line_first(const struct line *l) {
        return l->waiting ? first(l)->range : NULL;
}

const struct managed_range *line_for_node(const struct managed *e, uint32_t node, enum room room) {
        list_for_each (it, &e->nodes[node].lines) {
                const struct managed_range *r = first(container_of(it, struct line, link))->range;

                if (group_room(e, r->group, node, room) >= r->bytes)
                        return r;
        }
        return NULL;
}

bool line_ahead(struct managed *e, const struct managed_range *r, uint32_t node) {
        return line_of(e, r, node)->waiting ||
               (!group_has_min(e, r->group, node, r->bytes) && line_for_node(e, node, ROOM_TOUCH));
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
