#include "service/internal.h"

#include <errno.h>
#include <string.h>

#include "account/who.h"
#include "base/alloc.h"
#include "base/text.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/drift_parts.h"

/*
 * The loop's part of drift: the ledger's figures, and what each session has, for the worker. There may be thousands of
 * sessions, so a turn of the loop takes a slice of them: nodes first, then sessions, then partitions. What changes
 * between two slices has changed a figure of some node, and is found by that when the worker is done.
 */

enum { SLICE = DRIFTING_SLICE, TRIES = 5 };

static void mix(uint64_t *print, uint64_t n) {
        *print = (*print ^ n) * 0x9e3779b97f4a7c15ull;
        *print ^= *print >> 29;
}

static bool is_quiet(const struct service *svc) {
        return jobs_idle(svc->jobs) && spill_idle(svc) && (!svc->mover || mover_idle(svc->mover));
}

/* Where nothing was done since, the same comes out again. */
static uint64_t print_of(const struct service *svc) {
        uint64_t print = is_quiet(svc);

        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                const struct account *a = &svc->state.nodes[i].account;
                struct managed_node_info info = { .used = 0 };

                if (svc->mover && i < svc->managed.nodes_count)
                        mover_node_info(svc->mover, i, &info);
                mix(&print, a->used);
                mix(&print, a->refunds);
                mix(&print, info.used);
                mix(&print, info.warm);
        }
        return print;
}

bool drift_stood_still(struct service *svc, const struct drift *d) {
        return !d->moving && print_of(svc) == d->print && is_quiet(svc);
}

unsigned drift_next_try(const struct drift *d) {
        return d->args.tries + 1 < TRIES ? d->args.tries + 1 : 0;
}

/* ---- nodes ---- */

static void take_node(struct service *svc, uint32_t i, struct drift_node *n) {
        const struct node_desc *d = node_desc(svc, i);
        struct managed_node_info info = { .used = 0 };

        if (svc->mover && i < svc->managed.nodes_count)
                mover_node_info(svc->mover, i, &info);
        n->id = i;
        n->host = d->kind == NODE_HOST;
        n->files = n->host || backend_has_pool(node_backend(svc, i));
        n->nvml = -1;
        text_copy(n->name, d->name);
        text_copy(n->device, d->device);
        n->expects = svc->state.nodes[i].account.used + info.used + info.warm;
        if (n->files)
                n->expects -= svc->state.nodes[i].dmabufs;
}

static void take_nodes(struct service *svc, struct drift *d) {
        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                struct drift_node *n = &d->nodes[d->nodes_count++];

                take_node(svc, i, n);
                if (node_desc(svc, i)->kind != NODE_CUDA || d->nvml_count == NVML_DEVICES_MAX)
                        continue;
                n->nvml = (int)d->nvml_count;
                d->nvml_nodes[d->nvml_count++] = i;
        }
}

/* What is leased was not taken from the machine. */
static uint64_t take_lease(struct drift *d, const struct lease *l) {
        for (uint32_t i = 0; l->state == LEASE_GRANTED && i < l->admission.count; i++)
                d->nodes[l->nodes[i].node].expects -= l->needs[i].bytes;
        return 1;
}

/* ---- sessions; each returns how many steps that were ---- */

static uint64_t ranges_of(const struct session *s) {
        const struct managed_client *k = s->managed;
        uint64_t n = 0;

        if (k)
                list_for_each (l, &k->members)
                        n++;
        return n;
}

static uint64_t take_devices(struct service *svc, const struct session *s, struct drift *d, struct drift_process *p) {
        uint32_t count = svc->options.machine->count;
        uint64_t *held = d->held + (size_t)(p - d->processes) * count, steps = 0, ranges = ranges_of(s);

        if (s->cgroup_path && strlen(s->cgroup_path) < sizeof(p->group))
                text_copy(p->group, s->cgroup_path);
        for (uint32_t i = 0; i < count; i++, steps++) {
                if (!dmem_is_on(svc, i))
                        continue;
                held[i] = session_used(s, i) + accounts_managed(svc, s, i);
                steps += ranges;
        }
        return steps;
}

static uint64_t take_process(struct service *svc, const struct drift *d, const struct session *s,
                             struct drift_process *p) {
        uint64_t steps = 0, ranges = ranges_of(s);
        const struct track *t = s->usage;

        p->session = s->object.id;
        p->pid = s->pid;
        text_copy(p->name, s->client ? s->client : "");
        if (t->who)
                p->where = t->who->seen.where;
        for (uint32_t i = 0; i < d->nodes_count; i++, steps++) {
                uint64_t used = session_used(s, i);

                if (d->nodes[i].host) {
                        p->host_bytes += used + accounts_managed(svc, s, i);
                        steps += ranges;
                } else if (d->nodes[i].nvml >= 0)
                        p->nvml[d->nodes[i].nvml] = used;
        }
        return steps;
}

static uint64_t take_session(struct service *svc, struct drift *d, const struct session *s) {
        struct drift_process *p = &d->processes[d->processes_count];
        uint64_t steps = 1;

        list_for_each (l, &s->leases)
                steps += take_lease(d, container_of(l, struct lease, by_session));
        if (!s->partition || !s->usage || d->processes_count == d->room)
                return steps;
        steps += take_process(svc, d, s, p);
        if (d->held)
                steps += take_devices(svc, s, d, p);
        if (d->args.processes) {
                p->claims_count = claims_of(svc, s, p->claims, CLAIMS_MAX);
                drift_take_kfd_process(svc, d, s, d->processes_count);
                steps += 2ul * d->nodes_count;
        }
        d->processes_count++;
        return steps;
}

/* ---- partitions: leases that nobody has claimed ---- */

static uint64_t take_partition(struct drift *d, const struct partition *p) {
        uint64_t steps = 1;

        list_for_each (l, &p->kept) {
                const struct lease *lease = container_of(l, struct keeping, by_partition)->of.lease;

                steps += lease && !lease->session ? take_lease(d, lease) : 1;
        }
        return steps;
}

/* ---- slices ---- */

/* True: that was all. */
static bool take_slice(struct service *svc, struct drift *d, uint64_t *steps) {
        const struct partition *p;
        struct session *s = NULL;

        while (*steps < SLICE && (s = walk_next(svc, &d->walk)))
                *steps += take_session(svc, d, s);
        while (*steps < SLICE && !s) {
                p = partition_after(&svc->state, d->after);
                if (!p)
                        return true;
                text_copy(d->after, p->name->text);
                *steps += take_partition(d, p);
        }
        return false;
}

void drift_take(struct service *svc) {
        struct drifting *g = &svc->drifting;
        uint64_t steps = 0;
        struct drift *d;

        if (list_empty(&g->taking))
                return;
        d = container_of(g->taking.next, struct drift, link);
        list_remove(&d->link);
        if (take_slice(svc, d, &steps))
                d->args.taken(d->args.userdata);
        else
                list_push_back(&g->taking, &d->link);
        g->slices++;
        g->slice_max = steps > g->slice_max ? steps : g->slice_max;
        if (!list_empty(&g->taking))
                svc->hooks.wake(svc->hooks.userdata);
}

static int begin(struct service *svc, struct drift *d) {
        uint32_t count = svc->options.machine->count;

        d->room = (uint32_t)svc->state.sessions_count;
        d->nodes = alloc_array(count + 1, sizeof(*d->nodes));
        d->processes = alloc_array(d->room + 1ul, sizeof(*d->processes));
        if (svc->dmem.root)
                d->held = alloc_array((d->room + 1ul) * count, sizeof(*d->held));
        if (!d->nodes || !d->processes || (svc->dmem.root && !d->held) || drift_take_kfd(svc, d) < 0)
                return -ENOMEM;
        d->print = print_of(svc);
        d->moving = !is_quiet(svc);
        d->nvml_probe = svc->options.nvml_probe;
        take_nodes(svc, d);
        return 0;
}

struct drift *drift_new(struct service *svc, const struct drift_args *args) {
        struct drift *d = alloc_zero(sizeof(*d));

        if (!d)
                return NULL;
        d->args = *args;
        list_init(&d->link);
        if (begin(svc, d) < 0) {
                drift_free(d);
                return NULL;
        }
        walk_begin(svc, &d->walk);
        list_push_back(&svc->drifting.taking, &d->link);
        svc->hooks.wake(svc->hooks.userdata);
        return d;
}

void drift_looked(struct drift *d) {
        alloc_free(d->nodes);
        alloc_free(d->processes);
        alloc_free(d->gpus);
        alloc_free(d->on_gpus);
        alloc_free(d->held);
        d->nodes = NULL;
        d->processes = NULL;
        d->gpus = NULL;
        d->on_gpus = d->held = NULL;
        d->nodes_count = d->processes_count = d->gpus_count = 0;
}

void drift_free(struct drift *d) {
        if (!d)
                return;
        list_remove(&d->link);
        walk_end(&d->walk);
        drift_looked(d);
        alloc_free(d->rows);
        alloc_free(d);
}
