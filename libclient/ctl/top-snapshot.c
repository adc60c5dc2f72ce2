#include "top-snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "usage.h"

struct taking {
        struct top_snapshot *s;
        size_t room[_TOP_PARTS];
};

static struct top_row *add(struct taking *t, enum top_part part, uint64_t id, const char *name) {
        struct top_row *row;

        if (t->s->count[part] == t->room[part]) {
                size_t room = t->room[part] ? 2 * t->room[part] : 16;
                struct top_row *more = realloc(t->s->rows[part], room * sizeof(*more));

                if (!more)
                        obstack_alloc_failed_handler();
                t->s->rows[part] = more;
                t->room[part] = room;
        }
        row = &t->s->rows[part][t->s->count[part]++];
        *row = (struct top_row){ .id = id };
        snprintf(row->name, sizeof(row->name), "%s", name);
        return row;
}

static int on_node(const struct svmd_node_row *n, void *userdata) {
        struct top_row *row = add(userdata, TOP_NODES, n->id, n->name);

        row->offline = !n->online;
        row->size = n->capacity;
        row->used = n->used;
        row->managed = n->managed;
        row->deeds = n->device_faults;
        return 0;
}

static int on_partition(const struct svmd_partition_row *p, void *userdata) {
        struct top_row *row = add(userdata, TOP_PARTITIONS, p->base, p->name);

        for (size_t i = 0; i < p->nodes_count; i++)
                row->used += p->nodes[i].used;
        row->sessions = p->sessions;
        row->reservations = p->reservations;
        row->out = p->evicted;
        row->deeds = p->cpu_faults + p->device_faults + p->evictions;
        return 0;
}

/* This program's own is left out: it is attached to no partition. */
static int on_session(const struct svmd_session_row *s, void *userdata) {
        struct top_row *row;

        if (!*s->partition)
                return 0;
        row = add(userdata, TOP_SESSIONS, s->id, s->client);
        snprintf(row->partition, sizeof(row->partition), "%s", s->partition);
        row->pid = s->pid;
        row->uid = s->uid;
        row->reservations = s->reservations;
        row->deeds = s->requests;
        return 0;
}

static int by_id(const void *left, const void *right) {
        const struct top_row *a = left, *b = right;

        return a->id < b->id ? -1 : a->id > b->id;
}

static int on_use(const struct svmd_use_row *u, void *userdata) {
        struct taking *t = userdata;
        struct top_row wanted = { .id = u->session }, *row = NULL;

        if (u->session && t->s->count[TOP_SESSIONS])
                row = bsearch(&wanted, t->s->rows[TOP_SESSIONS], t->s->count[TOP_SESSIONS], sizeof(*row), by_id);
        if (row)
                row->used += u->used;
        return 0;
}

struct naming {
        struct ctl *ctl;
        struct top_snapshot *s;
};

static int on_holder(const struct svmd_holder_row *h, void *userdata) {
        struct naming *n = userdata;
        struct top_row wanted = { .id = h->session }, *row = NULL;
        void *mark = obstack_alloc(&n->ctl->pool, 0);

        if (h->session && h->container[0] && n->s->count[TOP_SESSIONS])
                row = bsearch(&wanted, n->s->rows[TOP_SESSIONS], n->s->count[TOP_SESSIONS], sizeof(*row), by_id);
        if (row && !row->container[0])
                snprintf(row->container, sizeof(row->container), "%s", usage_container(n->ctl, h));
        obstack_free(&n->ctl->pool, mark);
        return 0;
}

static struct top_row *node_of(struct taking *t, svmd_node id) {
        for (size_t i = 0; i < t->s->count[TOP_NODES]; i++)
                if (t->s->rows[TOP_NODES][i].id == id)
                        return &t->s->rows[TOP_NODES][i];
        return NULL;
}

static int on_metric(const struct svmd_metric_row *m, void *userdata) {
        struct top_row *from, *to;

        if (m->kind != SVMD_METRIC_FLOW)
                return 0;
        from = node_of(userdata, m->from);
        to = node_of(userdata, m->to);
        if (from)
                from->out += m->bytes;
        if (to)
                to->in += m->bytes;
        return 0;
}

int top_snapshot_take(struct ctl *c, struct top_snapshot *ret) {
        struct svmd_status status = { .size = sizeof(status) };
        struct taking t = { .s = ret };
        int r;

        *ret = (struct top_snapshot){ .at_ns = ctl_now_ns() };
        r = svmd_query_status(c->session, &status);
        if (r == SVMD_OK)
                r = svmd_query_nodes(c->session, on_node, &t);
        if (r == SVMD_OK)
                r = svmd_query_partitions(c->session, NULL, on_partition, &t);
        if (r == SVMD_OK)
                r = svmd_query_sessions(c->session, NULL, on_session, &t);
        if (ret->count[TOP_SESSIONS])
                qsort(ret->rows[TOP_SESSIONS], ret->count[TOP_SESSIONS], sizeof(struct top_row), by_id);
        if (r == SVMD_OK)
                r = svmd_query_usage(c->session, NULL, on_use, &t);
        if (r == SVMD_OK)
                r = svmd_query_holders(c->session, NULL, on_holder, &(struct naming){ c, ret });
        if (r == SVMD_OK)
                r = svmd_query_metrics(c->session, on_metric, &t);
        if (r != SVMD_OK)
                top_snapshot_free(ret);
        snprintf(ret->version, sizeof(ret->version), "%s", status.version);
        ret->epoch = status.epoch;
        ret->uptime_ms = status.uptime_ms;
        return r;
}

void top_snapshot_free(struct top_snapshot *s) {
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                free(s->rows[i]);
        *s = (struct top_snapshot){ 0 };
}
