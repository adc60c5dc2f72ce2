#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/node.h"
#include "policy/sim/sim.h"

/* Machines: of a recording, or of a folder that svmd --machine takes. */
enum { UNSTATED = 16000 };

static uint32_t stated(const struct node_desc *from, uint32_t to) {
        for (uint32_t i = 0; i < from->links_count; i++) {
                const struct node_link *l = &from->links[i];
                uint64_t mb = l->max_bandwidth ? l->max_bandwidth : UNSTATED;

                if (l->to == to)
                        return mb < UINT32_MAX ? (uint32_t)mb : UINT32_MAX;
        }
        return 0;
}

static uint32_t bandwidth(const struct machine *m, uint32_t from, uint32_t to) {
        const struct node_desc *a = &m->nodes[from], *b = &m->nodes[to];
        uint32_t mb = stated(a, to);

        mb = mb ? mb : stated(b, from);
        return mb || (a->kind != NODE_HOST && b->kind != NODE_HOST) ? mb : UNSTATED;
}

static uint32_t distance(const struct machine *m, uint32_t from, uint32_t to) {
        const struct node_desc *a = &m->nodes[from];

        for (uint32_t i = 0; i < a->links_count; i++)
                if (a->links[i].to == to && a->kind == NODE_HOST && m->nodes[to].kind == NODE_HOST)
                        return a->links[i].weight;
        return 0;
}

int sim_machine_take(struct sim_machine *ret, const struct machine *m) {
        *ret = (struct sim_machine){ .count = m->count };
        if (m->count > SIM_NODES)
                return -E2BIG;
        for (uint32_t i = 0; i < m->count; i++) {
                const struct node_desc *d = &m->nodes[i];
                struct sim_node *n = &ret->nodes[i];

                snprintf(n->name, sizeof(n->name), "%s", d->name);
                n->host = d->kind == NODE_HOST;
                n->faults = n->host || d->faults;
                n->far = d->far;
                n->online = true;
                n->capacity = d->capacity;
                n->hive = d->hive;
                for (uint32_t k = 0; k < m->count; k++) {
                        n->bandwidth[k] = bandwidth(m, i, k);
                        n->distance[k] = distance(m, i, k);
                }
        }
        return 0;
}

static void take_node(struct sim_machine *m, const struct trace_event *e) {
        struct sim_node *n = &m->nodes[m->count++];

        *n = (struct sim_node){ .host = e->flags & TRACE_HOST,
                                .faults = e->flags & TRACE_FAULTS,
                                .far = e->flags & TRACE_FAR,
                                .online = !(e->flags & TRACE_OFFLINE),
                                .capacity = e->bytes,
                                .hive = e->value };
        snprintf(n->name, sizeof(n->name), "%s", e->name);
}

static void take_link(struct sim_machine *m, const struct trace_event *e) {
        m->nodes[e->node].bandwidth[e->first] = e->count;
        m->nodes[e->node].distance[e->first] = (uint32_t)e->value;
}

int sim_machine_of_trace(struct sim_machine *ret, const void *bytes, size_t size, char *why, size_t why_size) {
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, size);

        *ret = (struct sim_machine){ 0 };
        while (!k && (k = trace_next(&t, &e)) == 1 && (e.type == TRACE_NODE || e.type == TRACE_LINK)) {
                k = 0;
                if (e.type == TRACE_LINK)
                        take_link(ret, &e);
                else if (ret->count < SIM_NODES)
                        take_node(ret, &e);
                else
                        k = -E2BIG;
        }
        if (k == -EBADMSG)
                snprintf(why, why_size, "%s", t.why);
        else if (k == -E2BIG)
                snprintf(why, why_size, "the recording has more than %d nodes", SIM_NODES);
        else if (!ret->count) {
                snprintf(why, why_size, "the recording has no nodes");
                k = -EBADMSG;
        }
        trace_close(&t);
        return k < 0 ? k : 0;
}

struct sim_node *sim_machine_find(struct sim_machine *m, const char *name) {
        for (uint32_t i = 0; i < m->count; i++)
                if (strcmp(m->nodes[i].name, name) == 0)
                        return &m->nodes[i];
        return NULL;
}

static unsigned kind_of(const struct sim_node *n) {
        return n->host ? 1 + n->far : 0;
}

/* The `nth` of its kind, going around; of hosts, when there is none of the kind, any; else the first node. */
static uint32_t nth_of_kind(const struct sim_machine *m, const struct sim_node *like, uint32_t nth) {
        for (unsigned strict = 2; strict--;) {
                uint32_t found[SIM_NODES], count = 0;

                for (uint32_t i = 0; i < m->count; i++)
                        if (strict ? kind_of(&m->nodes[i]) == kind_of(like) : m->nodes[i].host == like->host)
                                found[count++] = i;
                if (count)
                        return found[nth % count];
        }
        return 0;
}

void sim_machine_match(const struct sim_machine *m, const struct sim_machine *of_trace, uint32_t *ret) {
        uint32_t seen[3] = { 0 };

        for (uint32_t i = 0; i < of_trace->count; i++) {
                const struct sim_node *n = &of_trace->nodes[i];
                const struct sim_node *same = sim_machine_find((struct sim_machine *)m, n->name);
                uint32_t nth = seen[kind_of(n)]++;

                ret[i] = same && same->host == n->host ? (uint32_t)(same - m->nodes) : nth_of_kind(m, n, nth);
        }
}
