#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "account/look.h"
#include "account/who.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/drift.h"

/*
 * What the kernel and drivers report, against the ledger.
 *
 *      loop: ledger's figures, who has sessions --> worker: looks --> loop: figures again
 *                 ^                                                      |
 *                 +------ they have changed meanwhile: once more --------+--> rows
 *
 * Of nodes whose memory is files of svmd the two agree to the page: pool and slots of a software device are what is
 * used there and what is kept warm; files of host memory, of all host nodes together, likewise. What leases hold was
 * not taken from the machine, and a dma-buf is a driver's. Of devices of drivers svmd gives out nothing, so what a
 * process has there is all drift: memory that it got from the driver itself.
 */

enum { FILES_MAX = 1100, DEVICES_MAX = 32, ROWS_MAX = 4096, TRIES = 5, REST_NS = 10000000, PAGE_ROWS = 64 };

struct drift_node {
        char name[64];
        uint32_t id;
        bool host, files; /* files: its memory is */
        uint64_t expects;
};

struct drift_process {
        uint64_t session;
        uint32_t pid;
        char name[64], cgroup[WHERE_CGROUP];
        uint64_t host_bytes; /* that its session holds on host nodes */
};

struct drift {
        struct drift_node *nodes;
        uint32_t nodes_count, processes_count;
        struct drift_process *processes;
        uint64_t print; /* changes with every figure of the ledger */
        unsigned tries;
        bool moving;
        struct drift_row *rows;
        uint32_t count;
};

void drift_free(struct drift *d) {
        if (!d)
                return;
        alloc_free(d->nodes);
        alloc_free(d->processes);
        alloc_free(d->rows);
        alloc_free(d);
}

/* ---- in the loop: the ledger ---- */

static uint64_t leased_on(const struct service *svc, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &svc->state.sessions)
                bytes += accounts_leased(container_of(l, struct session, by_state), node);
        for (struct partition *p = partition_after(&svc->state, ""); p; p = partition_after(&svc->state, p->name->text))
                bytes += accounts_leased_idle(p, node);
        return bytes;
}

static uint64_t dmabufs_on(const struct service *svc, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &svc->dmabufs) {
                const struct file *f = container_of(l, struct file, by_session);

                bytes += f->node == node ? f->slots.end - f->slots.start : 0;
        }
        return bytes;
}

static void mix(uint64_t *print, uint64_t n) {
        *print = (*print ^ n) * 0x9e3779b97f4a7c15ull;
        *print ^= *print >> 29;
}

/* Where nothing was done since, the same comes out again. */
static uint64_t print_of(const struct service *svc) {
        uint64_t print = jobs_idle(svc->jobs) && spill_idle(svc) && (!svc->mover || mover_idle(svc->mover));

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

static bool is_quiet(const struct service *svc) {
        return jobs_idle(svc->jobs) && spill_idle(svc) && (!svc->mover || mover_idle(svc->mover));
}

static void take_node(struct service *svc, uint32_t i, struct drift_node *n) {
        const struct node_desc *d = node_desc(svc, i);
        struct managed_node_info info = { .used = 0 };

        if (svc->mover && i < svc->managed.nodes_count)
                mover_node_info(svc->mover, i, &info);
        n->id = i;
        n->host = d->kind == NODE_HOST;
        n->files = n->host || d->kind == NODE_SOFT;
        text_copy(n->name, d->name);
        n->expects = svc->state.nodes[i].account.used + info.used + info.warm - leased_on(svc, i) - dmabufs_on(svc, i);
}

static void take_process(struct service *svc, const struct session *s, struct drift_process *p) {
        const struct track *t = s->usage;

        p->session = s->object.id;
        p->pid = s->pid;
        text_copy(p->name, s->client ? s->client : "");
        if (t && t->who)
                text_copy(p->cgroup, t->who->seen.where.cgroup);
        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                if (node_desc(svc, i)->kind == NODE_HOST)
                        p->host_bytes += (s->accounts ? s->accounts[i].used : 0) + accounts_managed(svc, s, i);
}

bool drift_stood_still(struct service *svc, const struct drift *d) {
        return !d->moving && print_of(svc) == d->print && is_quiet(svc);
}

struct drift *drift_of_nodes(struct service *svc) {
        struct drift *d = alloc_zero(sizeof(*d));

        if (!d)
                return NULL;
        d->nodes = alloc_array(svc->options.machine->count + 1, sizeof(*d->nodes));
        if (!d->nodes) {
                drift_free(d);
                return NULL;
        }
        d->print = print_of(svc);
        d->moving = !is_quiet(svc);
        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                take_node(svc, i, &d->nodes[d->nodes_count++]);
        return d;
}

static struct drift *drift_new(struct service *svc) {
        struct drift *d = drift_of_nodes(svc);

        if (!d)
                return NULL;
        d->processes = alloc_array(svc->state.sessions_count + 1, sizeof(*d->processes));
        if (!d->processes) {
                drift_free(d);
                return NULL;
        }
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (s->partition && s->usage)
                        take_process(svc, s, &d->processes[d->processes_count++]);
        }
        return d;
}

/* ---- in the worker: what there is ---- */

static struct drift_row *row_add(struct drift *d, enum drift_scope scope, const char *source) {
        struct drift_row *row;

        if (d->count == ROWS_MAX)
                return NULL;
        if (!d->rows)
                d->rows = alloc_array(ROWS_MAX, sizeof(*d->rows));
        if (!d->rows)
                return NULL;
        row = &d->rows[d->count++];
        row->scope = scope;
        text_copy(row->source, source);
        return row;
}

static uint64_t files_of(const struct look_file *files, unsigned count, const char *kind, uint64_t number) {
        for (unsigned i = 0; i < count; i++)
                if (strcmp(files[i].kind, kind) == 0 && files[i].number == number)
                        return files[i].bytes;
        return 0;
}

/* One row for each device that is files, and one for all host nodes. */
static void compare_files(struct drift *d, const struct look_file *files, unsigned count) {
        static const char *const of_hosts[] = { "arena", "memory", "range" };
        struct drift_row *hosts = row_add(d, SCOPE_NODE, "st_blocks"), *row;

        if (!hosts)
                return;
        text_copy(hosts->subject, "host memory");
        text_copy(hosts->place, "all host nodes");
        for (unsigned i = 0; i < sizeof(of_hosts) / sizeof(of_hosts[0]); i++)
                hosts->reported += files_of(files, count, of_hosts[i], 0);
        for (uint32_t i = 0; i < d->nodes_count; i++) {
                const struct drift_node *n = &d->nodes[i];
                uint64_t own = files_of(files, count, "slots", n->id) + files_of(files, count, "pool", n->id);

                if (n->host) {
                        hosts->reported += own;
                        hosts->ledger += n->expects;
                } else if (n->files && (row = row_add(d, SCOPE_NODE, "st_blocks"))) {
                        text_copy(row->subject, n->name);
                        text_copy(row->place, n->name);
                        row->reported = own;
                        row->ledger = n->expects;
                }
        }
}

int drift_look_at_nodes(struct drift *d, char *why, size_t why_size) {
        struct look_file *files = alloc_array(FILES_MAX, sizeof(*files));
        unsigned count = 0;
        int r = files ? look_at_files(files, FILES_MAX, &count) : -ENOMEM;

        if (r == 0)
                compare_files(d, files, count);
        else
                snprintf(why, why_size, "svmd cannot look at its own files: %s", strerror(-r));
        alloc_free(files);
        return r;
}

static void look_at_processes(struct usage_answer *a) {
        const struct service_options *o = &a->svc->options;
        struct drift *d = a->drift;

        for (uint32_t i = 0; o->proc_root && o->sys_root && i < d->processes_count; i++) {
                const struct drift_process *p = &d->processes[i];
                struct look_device devices[DEVICES_MAX];
                unsigned count;

                if (i > 0 && p->pid == p[-1].pid)
                        continue; /* another session of it */
                count = look_at_devices(o->proc_root, o->sys_root, p->pid, devices, DEVICES_MAX);
                for (unsigned k = 0; k < count; k++) {
                        struct drift_row *row = devices[k].bytes ? row_add(d, SCOPE_PROCESS, devices[k].source) : NULL;

                        if (!row)
                                continue;
                        row->session = p->session;
                        row->pid = p->pid;
                        text_copy(row->subject, p->name);
                        snprintf(row->place, sizeof(row->place), "%s %s", devices[k].device, devices[k].region);
                        row->reported = devices[k].bytes;
                }
        }
}

static bool met_before(const struct drift *d, uint32_t i) {
        for (uint32_t k = 0; k < i; k++)
                if (strcmp(d->processes[k].cgroup, d->processes[i].cgroup) == 0)
                        return true;
        return false;
}

static void compare_cgroup(struct drift *d, uint32_t i, const struct look_cgroup *c) {
        const char *cgroup = d->processes[i].cgroup;
        struct drift_row *row;

        if (c->has_memory && (row = row_add(d, SCOPE_CGROUP, "memcg"))) {
                text_copy(row->subject, cgroup);
                text_copy(row->place, "host memory, shmem");
                row->reported = c->shmem;
                for (uint32_t k = i; k < d->processes_count; k++)
                        if (strcmp(d->processes[k].cgroup, cgroup) == 0)
                                row->ledger += d->processes[k].host_bytes;
        }
        for (unsigned k = 0; k < c->regions_count; k++) {
                row = c->regions[k].bytes ? row_add(d, SCOPE_CGROUP, "dmem") : NULL;
                if (!row)
                        continue;
                text_copy(row->subject, cgroup);
                snprintf(row->place, sizeof(row->place), "%s %s", c->regions[k].device, c->regions[k].region);
                row->reported = c->regions[k].bytes;
        }
}

/* Neighbours in the list are mostly of one group, and those that were met need not be compared with all: the number of
 * groups is small, that of processes need not be. */
static void look_at_cgroups(struct usage_answer *a) {
        const char *sys_root = a->svc->options.sys_root;
        struct drift *d = a->drift;
        unsigned groups = 0;

        for (uint32_t i = 0; sys_root && i < d->processes_count && groups < 1024; i++) {
                struct look_cgroup c;

                if (!d->processes[i].cgroup[0] ||
                    (i > 0 && strcmp(d->processes[i].cgroup, d->processes[i - 1].cgroup) == 0) || met_before(d, i))
                        continue;
                groups++;
                look_at_cgroup(sys_root, d->processes[i].cgroup, &c);
                compare_cgroup(d, i, &c);
        }
}

static void drift_run(struct job *job) {
        struct usage_answer *a = container_of(job, struct usage_answer, job);
        const struct timespec rest = { 0, REST_NS };

        if (a->drift->tries > 0)
                nanosleep(&rest, NULL);
        a->result = drift_look_at_nodes(a->drift, a->why, sizeof(a->why));
        if (a->result < 0)
                return;
        look_at_processes(a);
        look_at_cgroups(a);
}

/* ---- the answer ---- */

static int drift_begin(struct call *c, unsigned tries) {
        struct usage_answer *a = alloc_zero(sizeof(*a));

        if (a)
                a->drift = drift_new(c->svc);
        if (!a || !a->drift) {
                alloc_free(a);
                return -ENOMEM;
        }
        a->drift->tries = tries;
        return usage_ask(c, a, drift_run);
}

/* What may explain it. The ledger is right about what svmd gave out, so the rest is somebody else's, or a fault. */
static const char *explain(const struct drift_row *r, bool moving) {
        bool more = r->reported > r->ledger;

        if (r->reported == r->ledger)
                return "";
        if (r->scope == SCOPE_NODE && moving)
                return "memory moves or is given back at this moment; look again";
        if (strcmp(r->subject, "host memory") == 0 && r->scope == SCOPE_NODE)
                return more ? "a client has written where it was given nothing (its file has room there), or svmd leaks"
                            : "a client has punched pages out of memory that it holds";
        if (r->scope == SCOPE_NODE)
                return more ? "svmd leaks memory of this device; report it, with svmd-ctl node show"
                            : "pages of this device were taken away behind svmd's back";
        if (strcmp(r->source, "memcg") == 0)
                return more ? "shared memory of other programs in this group, or pages of others that it touched first"
                            : "pages of it that a process of another group touched first, or swapped out";
        return "memory that the process got from the driver itself, outside of svmd";
}

const char *drift_explain(const struct drift_row *r) {
        return explain(r, false);
}

const struct drift_row *drift_rows(const struct drift *d, uint32_t *ret_count) {
        *ret_count = d->count;
        return d->rows;
}

static Svmd__V1__DriftRow *drift_row(struct call *c, struct drift_row *r, bool moving) {
        Svmd__V1__DriftRow *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__drift_row__init(row);
        row->scope = (Svmd__V1__DriftScope)r->scope;
        row->source = r->source;
        row->subject = r->subject;
        row->place = r->place;
        row->session = r->session;
        row->pid = r->pid;
        row->reported = r->reported;
        row->ledger = r->ledger;
        row->why = (char *)explain(r, moving);
        return row;
}

int op_drift(struct call *c) {
        uint64_t from = c->op->drift->from;
        struct usage_answer *a = c->request->usage;
        struct drift *d;

        if (!a && !c->request->looked && accounts_look(c->svc, c->request))
                return OP_LATER;
        if (!a)
                return c->svc->accounts.looking ? (c->request->again = true, OP_LATER) : drift_begin(c, 0);
        if (a->result < 0)
                return refuse(c, SVMD_STATUS_SYSTEM, "%s", a->why);
        d = a->drift;
        d->moving |= !drift_stood_still(c->svc, d);
        if (d->moving && d->tries < TRIES && from == 0) {
                unsigned tries = d->tries + 1;

                usage_answer_free(a);
                c->request->usage = NULL;
                return drift_begin(c, tries);
        }
        if (from == 0 && !d->moving)
                drifting_verdict(c->svc, d);
        DETAIL(c, DriftResult, DRIFT, drift, r);
        r->moving = d->moving;
        r->rows = call_take(c, PAGE_ROWS * sizeof(*r->rows));
        if (!r->rows)
                return -ENOMEM;
        for (; from < d->count && r->n_rows < PAGE_ROWS; from++) {
                r->rows[r->n_rows] = drift_row(c, &d->rows[from], d->moving);
                if (!r->rows[r->n_rows++])
                        return -ENOMEM;
        }
        c->result->more = from < d->count;
        return 0;
}
