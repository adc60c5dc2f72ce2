#include "bus/view.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "bus/link.h"

/*
 *      (svmd is away) -> hello -> monitor -> status -> nodes... -> partitions... -> copy is current -> rests -+
 *            ^                                 ^                                                              |
 *            +---- the connection ends         +------------------ time, or something was told ---------------+
 *
 * The next copy is made beside the current one, page by page, and takes its place whole.
 */
enum { PERIOD_US = 2000000, SOON_US = 100000, AWAY_US = 500000 };

enum stage { AWAY, HELLO, MONITOR, STATUS, NODES, PARTITIONS, RESTS };

struct view {
        struct view_hooks hooks;
        sd_event *loop;
        sd_event_source *timer;
        struct link *link;
        enum stage stage;
        bool stirred; /* something was told since the copy was begun */
        bool hurries; /* somebody waits for the next one */
        bool said_away;
        uint64_t number; /* of copies that were made */
        struct view_copy now, next;
        char path[108];
};

/* ---- copies ---- */

static void copy_fini(struct view_copy *c) {
        for (uint32_t i = 0; i < c->partitions_count; i++)
                alloc_free(c->partitions[i].uses);
        alloc_free(c->partitions);
        alloc_free(c->nodes);
        memset(c, 0, sizeof(*c));
}

static int by_name(const void *a, const void *b) {
        return strcmp(a, b);
}

static void *find(const void *rows, uint32_t count, size_t size, const char *name) {
        return count ? bsearch(name, rows, count, size, by_name) : NULL;
}

_Static_assert(offsetof(struct view_node, name) == 0 && offsetof(struct view_partition, name) == 0,
               "rows are found by the name in front");

const struct view_copy *view_now(const struct view *v) {
        return &v->now;
}

struct view_node *view_node(const struct view_copy *c, const char *name) {
        return find(c->nodes, c->nodes_count, sizeof(*c->nodes), name);
}

const struct view_node *view_node_of(const struct view_copy *c, uint32_t id) {
        for (uint32_t i = 0; i < c->nodes_count; i++)
                if (c->nodes[i].id == id)
                        return &c->nodes[i];
        return NULL;
}

struct view_partition *view_partition(const struct view_copy *c, const char *name) {
        return find(c->partitions, c->partitions_count, sizeof(*c->partitions), name);
}

/* One row more, zeroed; NULL: out of memory, or more than `max`. */
static void *row_add(void **rows, uint32_t *count, size_t size, uint32_t max) {
        char *grown;

        if (*count == max)
                return NULL;
        if ((*count & (*count - 1)) == 0) {
                grown = alloc_grow(*rows, *count * size, (*count ? 2ul * *count : 1) * size);
                if (!grown)
                        return NULL;
                *rows = grown;
        }
        grown = (char *)*rows + (*count)++ * size;
        return memset(grown, 0, size);
}

static bool take_nodes(struct view *v, const Svmd__V1__NodesResult *m) {
        for (size_t i = 0; i < m->n_nodes; i++) {
                const Svmd__V1__Node *from = m->nodes[i];
                struct view_node *n =
                        row_add((void **)&v->next.nodes, &v->next.nodes_count, sizeof(*n), VIEW_NODES_MAX);

                if (!n)
                        return false;
                text_copy(n->name, from->name);
                text_copy(n->kind, from->kind_name);
                text_copy(n->driver, from->driver);
                text_copy(n->trouble, from->trouble);
                n->id = from->id;
                n->online = from->online;
                n->faults = from->faults;
                n->capacity = from->capacity;
                n->used = from->used;
                n->managed = from->managed;
                n->reserve = from->reserve;
                n->waiting = from->waiting;
                n->bounces = from->bounces;
        }
        return true;
}

static bool take_uses(struct view_partition *p, const Svmd__V1__Partition *from) {
        p->uses = alloc_array(from->n_nodes + 1, sizeof(*p->uses));
        if (!p->uses)
                return false;
        for (size_t i = 0; i < from->n_nodes; i++) {
                const Svmd__V1__NodeUse *u = from->nodes[i];

                p->uses[p->uses_count++] = (struct view_use){
                        .node = u->node, .used = u->used, .max = u->max, .high = u->high, .low = u->low, .min = u->min
                };
        }
        return true;
}

static bool take_partitions(struct view *v, const Svmd__V1__PartitionsResult *m) {
        for (size_t i = 0; i < m->n_partitions; i++) {
                const Svmd__V1__Partition *from = m->partitions[i];
                struct view_partition *p = row_add((void **)&v->next.partitions, &v->next.partitions_count, sizeof(*p),
                                                   VIEW_PARTITIONS_MAX);

                if (!p || !take_uses(p, from))
                        return false;
                text_copy(p->name, from->name);
                text_copy(p->domain, from->domain);
                text_copy(p->window, from->window == SVMD__V1__WINDOW__LOW ? "low" : "primary");
                text_copy(p->policy, from->policy);
                p->uid = from->uid;
                p->gid = from->gid;
                p->mode = from->mode;
                p->start = from->start;
                p->size = from->size;
                p->sessions = from->sessions;
                p->reservations = from->reservations;
                p->kept = from->kept;
                p->kept_max = from->kept_max;
        }
        return true;
}

static void take_status(struct view *v, const Svmd__V1__StatusResult *m) {
        struct view_manager *to = &v->next.manager;

        text_copy(to->version, m->version);
        to->running = 1;
        to->keeper = m->keeper;
        to->pid = m->pid;
        to->epoch = m->epoch;
        to->sessions = m->sessions;
        to->partitions = m->partitions;
        to->reservations = m->reservations;
        to->refusals = m->refusals;
        to->journal_used = m->journal_used;
        to->journal_size = m->journal_size;
}

/* ---- asking ---- */

static void wake_in(struct view *v, uint64_t us) {
        sd_event_source_set_time_relative(v->timer, us);
        sd_event_source_set_enabled(v->timer, SD_EVENT_ONESHOT);
}

static void become_current(struct view *v) {
        struct view_copy old = v->now;

        if (v->next.nodes_count)
                qsort(v->next.nodes, v->next.nodes_count, sizeof(*v->next.nodes), by_name);
        if (v->next.partitions_count)
                qsort(v->next.partitions, v->next.partitions_count, sizeof(*v->next.partitions), by_name);
        v->hooks.changes(v->hooks.userdata, &v->now, &v->next);
        v->now = v->next;
        v->number++;
        memset(&v->next, 0, sizeof(v->next));
        v->hooks.changed(v->hooks.userdata);
        copy_fini(&old);
}

/* What there was stays; only that nobody answers is new. */
static void go_away(struct view *v, const char *why) {
        struct view_manager was = v->now.manager;

        link_free(v->link);
        v->link = NULL;
        copy_fini(&v->next);
        v->stage = AWAY;
        v->stirred = v->hurries = false;
        v->number += 2; /* who waits for a copy waits no longer */
        if (!v->said_away)
                log_info("svmd cannot be asked: %s", why);
        v->said_away = true;
        if (was.running) {
                struct view_copy gone = v->now;

                gone.manager.running = 0;
                v->hooks.changes(v->hooks.userdata, &v->now, &gone);
                v->now = gone;
        }
        v->hooks.changed(v->hooks.userdata);
        wake_in(v, AWAY_US);
}

static int ask(struct view *v, enum stage stage, uint32_t from, const char *after) {
        Svmd__V1__Monitor monitor = SVMD__V1__MONITOR__INIT;
        Svmd__V1__Status status = SVMD__V1__STATUS__INIT;
        Svmd__V1__Nodes nodes = SVMD__V1__NODES__INIT;
        Svmd__V1__PartitionList partitions = SVMD__V1__PARTITION_LIST__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        v->stage = stage;
        if (stage == MONITOR) {
                op.op_case = SVMD__V1__OP__OP_MONITOR;
                op.monitor = &monitor;
                monitor.on = monitor.seldom = 1;
        } else if (stage == STATUS) {
                op.op_case = SVMD__V1__OP__OP_STATUS;
                op.status = &status;
        } else if (stage == NODES) {
                op.op_case = SVMD__V1__OP__OP_NODES;
                op.nodes = &nodes;
                nodes.from = from;
        } else {
                op.op_case = SVMD__V1__OP__OP_PARTITION_LIST;
                op.partition_list = &partitions;
                partitions.after = (char *)after;
        }
        return link_send(v->link, &op);
}

/* The stage that comes then, and what it is asked; or the copy is complete. */
static int go_on(struct view *v, const Svmd__V1__Result *r) {
        char after[VIEW_NAME];

        switch (v->stage) {
        case HELLO: return ask(v, MONITOR, 0, NULL);
        case MONITOR: return ask(v, STATUS, 0, NULL);
        case STATUS:
                if (!r->status)
                        return -EBADMSG;
                take_status(v, r->status);
                return ask(v, NODES, 0, NULL);
        case NODES:
                if (!r->nodes || !take_nodes(v, r->nodes))
                        return -EBADMSG;
                if (r->more && r->nodes->n_nodes > 0)
                        return ask(v, NODES, v->next.nodes[v->next.nodes_count - 1].id + 1, NULL);
                return ask(v, PARTITIONS, 0, "");
        case PARTITIONS:
                if (!r->partitions || !take_partitions(v, r->partitions))
                        return -EBADMSG;
                if (r->more && r->partitions->n_partitions > 0) {
                        text_copy(after, v->next.partitions[v->next.partitions_count - 1].name);
                        return ask(v, PARTITIONS, 0, after);
                }
                become_current(v);
                v->stage = RESTS;
                wake_in(v, v->hurries ? 0 : v->stirred ? SOON_US : PERIOD_US);
                v->stirred = v->hurries = false;
                return 0;
        case AWAY:
        case RESTS: break;
        }
        return -EBADMSG;
}

static void on_reply(void *userdata, const Svmd__V1__Result *result) {
        struct view *v = userdata;
        int r;

        if (result->code != 0) {
                go_away(v, result->text);
                return;
        }
        if (v->stage == HELLO && v->said_away) {
                log_info("svmd answers");
                v->said_away = false;
        }
        r = go_on(v, result);
        if (r < 0)
                go_away(v, strerror(-r));
}

static void on_event(void *userdata, const Svmd__V1__Event *event) {
        const Svmd__V1__MonitorEvent *m;
        struct view *v = userdata;

        if (v->stage == RESTS && !v->stirred)
                wake_in(v, SOON_US);
        v->stirred = true;
        if (event->event_case != SVMD__V1__EVENT__EVENT_MONITOR)
                return;
        m = event->monitor;
        v->hooks.happened(v->hooks.userdata, m->what, m->partition, m->from ? m->from - 1 : UINT32_MAX, m->size,
                          m->session, m->pid, m->text);
}

static void on_ended(void *userdata, const char *why) {
        go_away(userdata, why);
}

static int on_timer(sd_event_source *source, uint64_t us, void *userdata) {
        struct view *v = userdata;
        const struct link_hooks hooks = { v, on_reply, on_event, on_ended };
        int r;

        if (v->stage == RESTS) {
                v->stirred = false;
                r = ask(v, STATUS, 0, NULL);
        } else {
                v->stage = HELLO;
                r = link_new(&v->link, v->loop, v->path, &hooks);
        }
        if (r < 0)
                go_away(v, strerror(-r));
        return 0;
}

uint64_t view_after(struct view *v) {
        if (v->stage == AWAY || v->stage == HELLO)
                return v->number;
        if (v->stage == RESTS)
                wake_in(v, 0);
        v->hurries |= v->stage != RESTS;
        return v->number + (v->stage == RESTS ? 1 : 2);
}

uint64_t view_number(const struct view *v) {
        return v->number;
}

int view_new(struct view **ret, sd_event *loop, const char *path, const struct view_hooks *hooks) {
        struct view *v = alloc_zero(sizeof(*v));
        int r;

        if (!v)
                return -ENOMEM;
        v->hooks = *hooks;
        v->loop = loop;
        text_copy(v->path, path);
        r = sd_event_add_time_relative(loop, &v->timer, CLOCK_MONOTONIC, 0, 0, on_timer, v);
        if (r < 0) {
                alloc_free(v);
                return r;
        }
        *ret = v;
        return 0;
}

void view_free(struct view *v) {
        if (!v)
                return;
        link_free(v->link);
        sd_event_source_disable_unref(v->timer);
        copy_fini(&v->now);
        copy_fini(&v->next);
        alloc_free(v);
}
