#include "mover/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/*
 * What recordings are told. With nobody recording each place costs one look at a number; what is told is told with the
 * mover's lock held, as it happens.
 *
 * A recording hears of a range when something of it is recorded first, or when it is looked at: the recording's thread
 * goes through all ranges, some granules at a time, and says where they lie and what advice they have. Advice that is
 * given later is looked at in the same way, because what it comes to depends on what others have said.
 */
enum { SCAN_GRANULES = 512 };

static bool hears_of(const struct mover_trace *t, const struct mover_range *r) {
        return !t->orphan && (!t->group || t->group == r->group);
}

void trace_forget(struct mover *m, unsigned index) {
        list_for_each (it, &m->ranges)
                container_of(it, struct mover_range, link)->traced[index] = 0;
}

void trace_describe_machine(struct mover_trace *t) {
        struct mover *m = t->m;

        for (uint32_t i = 0; i < m->c.nodes_count; i++) {
                const struct mover_node *n = &m->nodes[i].node;
                struct managed_node_info info;
                struct trace_event e = { .type = TRACE_NODE, .node = i, .value = n->hive };

                managed_node_info(m->engine, i, &info);
                e.bytes = info.capacity;
                e.flags = (n->host ? TRACE_HOST : 0) | (n->faults ? TRACE_FAULTS : 0) | (n->far ? TRACE_FAR : 0) |
                          (info.online ? 0 : TRACE_OFFLINE);
                snprintf(e.name, sizeof(e.name), "%s", n->name && *n->name ? n->name : "node");
                trace_push(t, &e);
        }
        for (uint32_t i = 0; i < m->c.nodes_count; i++)
                for (uint32_t k = 0; k < m->c.nodes_count; k++) {
                        const struct mover_node *n = &m->nodes[i].node;
                        struct trace_event e = { .type = TRACE_LINK, .node = i, .first = k };

                        e.count = n->bandwidth ? n->bandwidth[k] : 0;
                        e.value = n->distance ? n->distance[k] : 0;
                        if (i != k && (e.count || e.value))
                                trace_push(t, &e);
                }
}

/* ---- ranges and groups ---- */

static void say_limits(struct mover_trace *t, const struct managed_group *g, uint32_t number) {
        for (uint32_t i = 0; i < t->m->c.nodes_count; i++) {
                struct trace_event e = { .type = TRACE_LIMIT, .group = number, .node = i };

                e.bytes = managed_group_limit_of(g, i);
                if (e.bytes != UINT64_MAX)
                        trace_push(t, &e);
        }
}

static uint32_t group_find(const struct mover_trace *t, const struct managed_group *g) {
        for (uint32_t i = 0; g && i < t->groups_count; i++)
                if (t->groups[i] == g)
                        return i + 1;
        return 0;
}

/* Without memory it is of none: its limits are not recorded. */
static uint32_t group_number(struct mover_trace *t, struct managed_group *g) {
        uint32_t size = t->groups_size ? 2 * t->groups_size : 8, number = group_find(t, g);

        if (number || !g)
                return number;
        if (t->groups_count == t->groups_size) {
                struct managed_group **grown = alloc_grow(t->groups, t->groups_size * sizeof(g), size * sizeof(g));

                if (!grown)
                        return 0;
                t->groups = grown;
                t->groups_size = size;
        }
        t->groups[t->groups_count++] = g;
        say_limits(t, g, t->groups_count);
        return t->groups_count;
}

static bool declare(struct mover_trace *t, struct mover_range *r) {
        struct trace_event e = { .type = TRACE_RANGE,
                                 .range = t->ranges,
                                 .granule = r->granule,
                                 .count = r->count,
                                 .address = r->address,
                                 .flags = r->ahead ? TRACE_AHEAD : 0 };

        if (r->traced[t->index])
                return r->traced[t->index] != MOVER_UNTRACED;
        e.group = group_number(t, r->group);
        if (!trace_push(t, &e))
                return false;
        r->traced[t->index] = ++t->ranges;
        return true;
}

static void tell_one(struct mover_trace *t, struct mover_range *r, const struct trace_event *what) {
        struct trace_event e = *what;

        if (!declare(t, r))
                return;
        e.range = r->traced[t->index] - 1;
        trace_push(t, &e);
}

static bool is_access(enum trace_type type) {
        return type == TRACE_FAULT || type == TRACE_USE;
}

void traces_tell(struct mover *m, struct mover_range *r, const struct trace_event *e) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];

                if (!t || !hears_of(t, r) || (is_access(e->type) && !t->faults))
                        continue;
                pthread_mutex_lock(&t->lock);
                tell_one(t, r, e);
                pthread_mutex_unlock(&t->lock);
        }
}

void traces_range_begins(struct mover *m, struct mover_range *r) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];

                if (!t || !hears_of(t, r))
                        continue;
                pthread_mutex_lock(&t->lock);
                declare(t, r);
                pthread_mutex_unlock(&t->lock);
        }
}

void traces_range_ends(struct mover *m, struct mover_range *r) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];
                struct trace_event e = { .type = TRACE_RANGE_END };

                if (!t || !r->traced[i] || r->traced[i] == MOVER_UNTRACED)
                        continue;
                pthread_mutex_lock(&t->lock);
                e.range = r->traced[i] - 1;
                trace_push(t, &e);
                pthread_mutex_unlock(&t->lock);
                r->traced[i] = MOVER_UNTRACED;
        }
}

void traces_capacity(struct mover *m, uint32_t node, uint64_t bytes) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];
                struct trace_event e = { .type = TRACE_CAPACITY, .node = node, .bytes = bytes };

                if (!t)
                        continue;
                pthread_mutex_lock(&t->lock);
                trace_push(t, &e);
                pthread_mutex_unlock(&t->lock);
        }
}

void traces_limit(struct mover *m, const struct managed_group *g, uint32_t node, uint64_t bytes) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];
                struct trace_event e = { .type = TRACE_LIMIT, .node = node, .bytes = bytes };

                if (!t)
                        continue;
                pthread_mutex_lock(&t->lock);
                e.group = group_find(t, g);
                if (e.group)
                        trace_push(t, &e);
                pthread_mutex_unlock(&t->lock);
        }
}

/* What has its address next is another partition's. */
void traces_group_gone(struct mover *m, const struct managed_group *g) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];

                if (!t)
                        continue;
                pthread_mutex_lock(&t->lock);
                t->orphan |= t->group == g;
                for (uint32_t k = 0; k < t->groups_count; k++)
                        t->groups[k] = t->groups[k] == g ? NULL : t->groups[k];
                pthread_mutex_unlock(&t->lock);
        }
}

/* ---- looking ---- */

static void scan_add(struct mover_trace *t, const struct trace_scan *s) {
        struct trace_scan *last = t->scans_count ? &t->scans[t->scans_count - 1] : NULL;

        if (last && last->id == s->id && last->first == s->first && last->end == s->end)
                return;
        if (t->scans_count == TRACE_SCANS) { /* then everything again, advice alone */
                t->scans_count = 0;
                t->looked = 0;
                t->looked_all = true;
                t->again = true;
                return;
        }
        t->scans[t->scans_count++] = *s;
}

void traces_advised(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count) {
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];
                struct trace_scan s = { .id = r->id, .first = first, .end = first + count };

                if (!t || !hears_of(t, r))
                        continue;
                pthread_mutex_lock(&t->lock);
                scan_add(t, &s);
                pthread_cond_signal(&t->more);
                pthread_mutex_unlock(&t->lock);
        }
}

static struct mover_range *range_by_id(const struct mover *m, uint64_t id, bool next) {
        struct mover_range *best = NULL;

        list_for_each (it, &m->ranges) {
                struct mover_range *r = container_of(it, struct mover_range, link);

                if (!r->range || (next ? r->id <= id : r->id != id))
                        continue;
                if (!best || r->id < best->id)
                        best = r;
        }
        return best;
}

bool trace_scans_left(const struct mover_trace *t) {
        return t->scans_count || !t->looked_all || t->again;
}

/* The next range that nobody has asked about. */
static void look_further(struct mover_trace *t) {
        struct mover_range *r = range_by_id(t->m, t->looked, true);

        if (!r) {
                t->looked_all = true;
                t->again = false;
                return;
        }
        t->looked = r->id;
        if (hears_of(t, r))
                t->scans[t->scans_count++] = (struct trace_scan){ r->id, 0, r->count, !t->looked_all };
}

struct runs {
        struct mover_trace *t;
        struct mover_range *r;
        struct trace_event lies, advice;
};

static void end_run(struct runs *u, struct trace_event *e) {
        if (e->count)
                tell_one(u->t, u->r, e);
        e->count = 0;
}

static void look_place(struct runs *u, uint32_t i) {
        struct managed_granule_info info;

        managed_granule_info(u->r->range, i, &info);
        if (u->lies.count && u->lies.node != info.node)
                end_run(u, &u->lies);
        if (info.node == MANAGED_NOWHERE)
                return;
        if (!u->lies.count)
                u->lies = (struct trace_event){ .type = TRACE_LIES, .first = i, .node = info.node };
        u->lies.count++;
}

static bool same_advice(const struct trace_event *a, const struct trace_event *b) {
        return a->preferred == b->preferred && a->granularity == b->granularity && a->on == b->on &&
               a->accessed_by == b->accessed_by;
}

/* `said`: also that there is none. */
static void look_advice(struct runs *u, uint32_t i, bool said) {
        struct trace_event e = { .type = TRACE_ADVISE,
                                 .first = i,
                                 .flags = TRACE_PREFERRED | TRACE_ACCESSED_BY | TRACE_READ_MOSTLY | TRACE_PINNED |
                                          TRACE_GRANULARITY };
        struct policy_advice a = { 0 };

        advice_get(u->t->m, u->r, i, &a);
        e.preferred = a.preferred;
        e.granularity = a.granularity;
        e.accessed_by = a.accessed_by;
        e.on = (a.read_mostly ? TRACE_READ_MOSTLY : 0) | (a.pinned ? TRACE_PINNED : 0);
        if (u->advice.count && !same_advice(&u->advice, &e))
                end_run(u, &u->advice);
        if (!said && !e.preferred && !e.granularity && !e.accessed_by && !e.on)
                return;
        if (!u->advice.count)
                u->advice = e;
        u->advice.count++;
}

static void scan_part(struct mover_trace *t, struct trace_scan *s) {
        struct mover_range *r = range_by_id(t->m, s->id, false);
        struct runs u = { .t = t, .r = r };
        uint32_t end = s->end - s->first < SCAN_GRANULES ? s->end : s->first + SCAN_GRANULES;

        if (!r) {
                s->first = s->end;
                return;
        }
        declare(t, r);
        for (uint32_t i = s->first; i < end; i++) {
                if (s->placed)
                        look_place(&u, i);
                look_advice(&u, i, !s->placed);
        }
        end_run(&u, &u.lies);
        end_run(&u, &u.advice);
        s->first = end;
}

static void scan_next(struct mover_trace *t) {
        if (!t->scans_count && trace_scans_left(t))
                look_further(t);
        if (!t->scans_count)
                return;
        scan_part(t, &t->scans[0]);
        if (t->scans[0].first == t->scans[0].end)
                memmove(&t->scans[0], &t->scans[1], --t->scans_count * sizeof(t->scans[0]));
}

void trace_scan_some(struct mover_trace *t) {
        mover_lock(t->m);
        pthread_mutex_lock(&t->lock);
        if (!t->stop && t->fill.used < TRACE_ROOM / 2)
                scan_next(t);
        pthread_mutex_unlock(&t->lock);
        mover_unlock(t->m);
}
