#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "account/dmem.h"
#include "account/look.h"
#include "account/who.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/drift_parts.h"

/*
 * What the kernel and drivers report, against the ledger.
 *
 *      loop: ledger's figures, who has sessions --> worker: looks --> loop: figures again
 *            (drift_take.c)                                              |
 *                 ^                                                      |
 *                 +------ they have changed meanwhile: once more --------+--> rows
 *
 * Of nodes whose memory is files of svmd the two agree to the page: pool and slots of a software device are what is
 * used there and what is kept warm; files of host memory, of all host nodes together, likewise. What leases hold was
 * not taken from the machine, and a dma-buf is a driver's. Of devices of drivers a process may have what its grants and
 * its memory say; what else it has there, it got from the driver itself (core/unbrokered.h). NVIDIA devices:
 * drift_nvml.c; GPUs of AMD's compute driver: drift_kfd.c.
 */

/* Devices of one process: AMD's driver names each GPU of the machine, used or not. */
enum { FILES_MAX = 1100, DEVICES_MAX = 256, OPENED_MAX = 32, ROWS_MAX = 4096, REST_NS = 10000000, PAGE_ROWS = 64 };

/* svmd itself leaves a control group half of this free (mover/budget.c). */
#define FULL_ROOM (512ull << 10)

/* ---- in the worker: what there is ---- */

struct drift_row *drift_row_add(struct drift *d, enum drift_scope scope, const char *source) {
        struct drift_row *row;

        if (d->count == ROWS_MAX)
                return NULL;
        if (!d->rows)
                d->rows = alloc_array(ROWS_MAX, sizeof(*d->rows));
        if (!d->rows)
                return NULL;
        row = &d->rows[d->count++];
        row->scope = scope;
        row->limit = row->room = UINT64_MAX;
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
        struct drift_row *hosts = drift_row_add(d, SCOPE_NODE, "st_blocks"), *row;

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
                } else if (n->files && (row = drift_row_add(d, SCOPE_NODE, "st_blocks"))) {
                        text_copy(row->subject, n->name);
                        text_copy(row->place, n->name);
                        row->reported = own;
                        row->ledger = n->expects;
                }
        }
}

int drift_look_at_nodes(struct drift *d, char *why, size_t why_size) {
        struct look_file *files = alloc_array(FILES_MAX, sizeof(*files));
        const struct timespec rest = { 0, REST_NS };
        unsigned count = 0;
        int r;

        if (d->args.tries > 0)
                nanosleep(&rest, NULL);
        r = files ? look_at_files(files, FILES_MAX, &count) : -ENOMEM;
        if (r == 0) {
                compare_files(d, files, count);
                drift_look_at_nvml(d);
        } else {
                snprintf(why, why_size, "svmd cannot look at its own files: %s", strerror(-r));
        }
        alloc_free(files);
        return r;
}

static struct drift_row *row_of_process(struct drift *d, const struct drift_process *p, const char *source) {
        struct drift_row *row = drift_row_add(d, SCOPE_PROCESS, source);

        if (!row)
                return NULL;
        row->session = p->session;
        row->pid = p->pid;
        text_copy(row->subject, p->name);
        return row;
}

/* What all its sessions have. */
static unsigned claims_of_process(const struct drift *d, uint32_t pid, struct claim *ret, unsigned room) {
        unsigned count = 0;

        for (uint32_t i = 0; i < d->processes_count; i++)
                for (unsigned k = 0; d->processes[i].pid == pid && k < d->processes[i].claims_count && count < room;
                     k++)
                        ret[count++] = d->processes[i].claims[k];
        return count;
}

static void compare_devices(struct drift *d, const struct drift_process *p, const struct look_device *devices,
                            unsigned count, const struct claim *claims, unsigned claims_count) {
        for (unsigned k = 0; k < count; k++) {
                const struct sight seen = { SIGHT_MEMORY, devices[k].device, devices[k].bytes };
                struct drift_row *row = seen.bytes && !drift_is_kfd_node(d, &devices[k])
                                                ? row_of_process(d, p, devices[k].source)
                                                : NULL;

                if (!row)
                        continue;
                snprintf(row->place, sizeof(row->place), "%s %s", devices[k].device, devices[k].region);
                row->reported = seen.bytes;
                row->counts = devices[k].counts;
                row->unbrokered = unbrokered(claims, claims_count, &seen, &row->ledger);
        }
}

/* Only what is used without leave: a file is no memory. */
static void compare_opened(struct drift *d, const struct drift_process *p, const struct look_opened *opened,
                           unsigned count, const struct claim *claims, unsigned claims_count) {
        for (unsigned k = 0; k < count; k++) {
                const struct look_opened *o = &opened[k];
                const struct sight seen = { o->mapped ? SIGHT_MAPPED : SIGHT_OPEN, o->path, o->mapped };
                uint64_t claimed;
                struct drift_row *row;

                if (!unbrokered(claims, claims_count, &seen, &claimed))
                        continue;
                row = row_of_process(d, p, o->mapped ? "maps" : "fd");
                if (!row)
                        return;
                snprintf(row->place, sizeof(row->place), "%.63s%s%.60s", o->path, o->driver[0] ? " of " : "",
                         o->driver);
                row->reported = o->mapped;
                row->unbrokered = true;
        }
}

static void look_at_processes(struct usage_answer *a) {
        const struct service_options *o = &a->svc->options;
        struct drift *d = a->drift;

        for (uint32_t i = 0; o->proc_root && o->sys_root && i < d->processes_count; i++) {
                const struct drift_process *p = &d->processes[i];
                struct claim claims[2 * CLAIMS_MAX];
                struct look_device devices[DEVICES_MAX];
                struct look_opened opened[OPENED_MAX];
                unsigned count, claims_count;

                if (i > 0 && p->pid == p[-1].pid)
                        continue; /* another session of it */
                count = look_at_devices(o->proc_root, o->sys_root, p->pid, devices, DEVICES_MAX);
                claims_count = claims_of_process(d, p->pid, claims, 2 * CLAIMS_MAX);
                compare_devices(d, p, devices, count, claims, claims_count);
                drift_compare_kfd(d, i, devices, count);
                count = look_at_opened(o->proc_root, p->pid, opened, OPENED_MAX);
                compare_opened(d, p, opened, count, claims, claims_count);
        }
}

static bool met_before(const struct drift *d, uint32_t i) {
        for (uint32_t k = 0; k < i; k++)
                if (strcmp(d->processes[k].where.cgroup, d->processes[i].where.cgroup) == 0)
                        return true;
        return false;
}

static void name_container(struct drift_row *row, const struct where *w) {
        if (w->container[0])
                snprintf(row->container, sizeof(row->container), "%s:%s%s%s", w->runtime, w->container,
                         w->pod[0] ? " pod " : "", w->pod);
}

/* A region that is a node has a row of its own. */
static bool is_node(const struct service *svc, const struct dmem_row *r) {
        char name[3 * REPORT_NAME];

        snprintf(name, sizeof(name), "%s/%s/%s", r->driver, r->device, r->region);
        for (uint32_t n = 0; n < svc->options.machine->count; n++)
                if (dmem_is_on(svc, n) && strcmp(node_desc(svc, n)->dmem, name) == 0)
                        return true;
        return false;
}

static void compare_cgroup(const struct service *svc, struct drift *d, uint32_t i, const struct look_cgroup *c) {
        const char *cgroup = d->processes[i].where.cgroup;
        struct drift_row *row;

        if (c->has_memory && (row = drift_row_add(d, SCOPE_CGROUP, "memcg"))) {
                text_copy(row->subject, cgroup);
                text_copy(row->place, "host memory, shmem");
                row->reported = c->memory.shmem;
                row->limit = c->limit;
                row->room = c->room;
                row->killed = c->memory.killed;
                name_container(row, &d->processes[i].where);
                for (uint32_t k = i; k < d->processes_count; k++)
                        if (strcmp(d->processes[k].where.cgroup, cgroup) == 0)
                                row->ledger += d->processes[k].host_bytes;
        }
        for (unsigned k = 0; k < c->regions_count; k++) {
                row = c->regions[k].bytes && !is_node(svc, &c->regions[k]) ? drift_row_add(d, SCOPE_CGROUP, "dmem")
                                                                           : NULL;
                if (!row)
                        continue;
                text_copy(row->subject, cgroup);
                snprintf(row->place, sizeof(row->place), "%s %s", c->regions[k].device, c->regions[k].region);
                row->reported = c->regions[k].bytes;
        }
}

/* Neighbours in the list are mostly of one group, and those that were met need not be compared with all: the number of
 * groups is small, that of processes need not be. */
static bool has_group_before(const struct drift *d, uint32_t i) {
        for (uint32_t k = i; k > 0; k--)
                if (strcmp(d->processes[k - 1].group, d->processes[i].group) == 0)
                        return true;
        return false;
}

/* What sessions in just this group have of a region, against what the kernel counts there. */
static void compare_region(const struct service *svc, struct drift *d, uint32_t i, uint32_t node) {
        const struct drift_process *p = &d->processes[i];
        const struct node_desc *n = node_desc(svc, node);
        struct drift_row *row;
        struct dmem_group got;

        if (dmem_read(svc->dmem.root, p->group, n->dmem, &got) < 0 || !(row = drift_row_add(d, SCOPE_CGROUP, "dmem")))
                return;
        text_copy(row->subject, p->group);
        snprintf(row->place, sizeof(row->place), "%s %s%s", n->name, n->dmem,
                 svc->options.dmem_root ? " (emulation)" : "");
        row->reported = got.current;
        row->limit = got.value[DMEM_MAX];
        for (uint32_t k = i; k < d->processes_count; k++)
                if (strcmp(d->processes[k].group, p->group) == 0)
                        row->ledger += d->held[(size_t)k * svc->options.machine->count + node];
        name_container(row, &p->where);
}

static void look_at_regions(const struct service *svc, struct drift *d) {
        unsigned groups = 0;

        for (uint32_t i = 0; d->held && i < d->processes_count && groups < 1024; i++) {
                if (!d->processes[i].group[0] || has_group_before(d, i))
                        continue;
                groups++;
                for (uint32_t n = 0; n < svc->options.machine->count; n++)
                        if (dmem_is_on(svc, n))
                                compare_region(svc, d, i, n);
        }
}

void drift_look_at_cgroups(const struct service *svc, struct drift *d) {
        const char *sys_root = svc->options.sys_root;
        unsigned groups = 0;

        for (uint32_t i = 0; sys_root && i < d->processes_count && groups < 1024; i++) {
                const char *cgroup = d->processes[i].where.cgroup;
                struct look_cgroup c;

                if (!cgroup[0] || (i > 0 && strcmp(cgroup, d->processes[i - 1].where.cgroup) == 0) || met_before(d, i))
                        continue;
                groups++;
                look_at_cgroup(sys_root, cgroup, &c);
                compare_cgroup(svc, d, i, &c);
        }
        look_at_regions(svc, d);
}

static void drift_run(struct job *job) {
        struct usage_answer *a = container_of(job, struct usage_answer, job);

        a->result = drift_look_at_nodes(a->drift, a->why, sizeof(a->why));
        if (a->result == 0) {
                look_at_processes(a);
                drift_look_at_cgroups(a->svc, a->drift);
        }
        drift_looked(a->drift);
}

static void drift_taken(void *userdata) {
        usage_submit(userdata);
}

/* ---- the answer ---- */

static int drift_begin(struct call *c, unsigned tries) {
        struct usage_answer *a = alloc_zero(sizeof(*a));
        const struct drift_args args = { .tries = tries, .processes = true, .userdata = a, .taken = drift_taken };

        if (a)
                a->drift = drift_new(c->svc, &args);
        if (!a || !a->drift) {
                alloc_free(a);
                return -ENOMEM;
        }
        return usage_wait(c, a, drift_run);
}

bool drift_is_full(const struct drift_row *r) {
        return strcmp(r->source, "memcg") == 0 && r->limit != UINT64_MAX && r->room <= FULL_ROOM;
}

/* What may explain it. The ledger is right about what svmd gave out, so the rest is somebody else's, or a fault. */
static const char *explain(const struct drift_row *r, bool moving) {
        bool more = r->reported > r->ledger;

        if (r->unbrokered && strcmp(r->source, "fd") == 0)
                return "the process has the device's file open, and nothing of the device through svmd";
        if (r->unbrokered && strcmp(r->source, "maps") == 0)
                return "the process has the device's file mapped, and nothing of the device through svmd";
        if (r->reported == r->ledger && !drift_is_full(r))
                return "";
        if (strcmp(r->source, "nvml") == 0)
                return drift_explain_nvml(r);
        if (r->scope == SCOPE_NODE && moving)
                return "memory moves or is given back at this moment; look again";
        if (strcmp(r->subject, "host memory") == 0 && r->scope == SCOPE_NODE)
                return more ? "a client has written where it was given nothing (its file has room there), or svmd leaks"
                            : "a client has punched pages out of memory that it holds";
        if (r->scope == SCOPE_NODE)
                return more ? "svmd leaks memory of this device; report it, with svmd-ctl node show"
                            : "pages of this device were taken away behind svmd's back";
        if (drift_is_full(r))
                return "the kernel lets this group have no more: its pages in ranges go to other nodes; see memory.max";
        if (strcmp(r->source, "memcg") == 0)
                return more ? "shared memory of other programs in this group, or pages of others that it touched first"
                            : "pages of it that a process of another group touched first, or swapped out";
        if (strcmp(r->source, "dmem") == 0 && !more)
                return "memory that svmd gave out, and that the kernel counts for no group or for another one";
        return more ? "memory that the process got from the driver itself, outside of svmd"
                    : "memory that svmd charged and the process does not have, or no longer";
}

const char *drift_explain(const struct drift_row *r) {
        return explain(r, false);
}

const struct drifting_nvml *drift_nvml(const struct drift *d) {
        return &d->nvml;
}

const struct drift_row *drift_rows(const struct drift *d, uint32_t *ret_count) {
        *ret_count = d->count;
        return d->rows;
}

/* False: out of memory. */
static bool add_counts(struct call *c, const struct look_counts *counts, Svmd__V1__DriftRow *row) {
        Svmd__V1__DriverCounts *to = counts->has ? call_take(c, sizeof(*to)) : NULL;

        if (!to)
                return !counts->has;
        svmd__v1__driver_counts__init(to);
        to->has = counts->has;
        to->faults = counts->faults;
        to->pages_in = counts->pages_in;
        to->pages_out = counts->pages_out;
        to->evicted_ms = counts->evicted_ms;
        row->counts = to;
        return true;
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
        row->limit = r->limit != UINT64_MAX ? r->limit : 0;
        row->killed = r->killed;
        row->container = r->container;
        row->unbrokered = r->unbrokered;
        return add_counts(c, &r->counts, row) ? row : NULL;
}

int op_drift(struct call *c) {
        uint64_t from = c->op->drift->from;
        struct usage_answer *a = c->request->usage;
        struct drift *d;
        unsigned next;

        if (!a && !c->request->looked && accounts_look(c->svc, c->request))
                return OP_LATER;
        if (!a)
                return c->svc->accounts.looking ? (c->request->again = true, OP_LATER) : drift_begin(c, 0);
        if (a->result < 0)
                return refuse(c, SVMD_STATUS_SYSTEM, "%s", a->why);
        d = a->drift;
        d->moving |= !drift_stood_still(c->svc, d);
        next = d->moving && from == 0 ? drift_next_try(d) : 0;
        if (next) {
                usage_answer_free(a);
                c->request->usage = NULL;
                return drift_begin(c, next);
        }
        if (from == 0)
                full_verdict(c->svc, d);
        if (from == 0 && !d->moving)
                drifting_verdict(c->svc, d);
        if (from == 0)
                unbrokered_note(&c->svc->unbrokered, d->rows, d->count);
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
