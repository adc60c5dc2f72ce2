#include "service/internal.h"
#include "service/rates.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/clock.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/cuda.h"
#include "service/device_events.h"
#include "service/devices.h"
#include "service/holder.h"
#include "service/lookup.h"

/* Questions. Lists come in pages: `more` says that the caller asks again, after the last row it saw. */

#define ROWS_OF_NODES 32          /* rows that carry a list of their own */
#define ROWS_BYTES    (64u << 10) /* where a page of them ends before it is full */

/* Takes a result message of the type and sets it as the detail. */
#define DETAIL(c, type, TYPE, member, var)                                                                             \
        Svmd__V1__##type *var = call_take(c, sizeof(*var));                                                            \
        if (!var)                                                                                                      \
                return -ENOMEM;                                                                                        \
        svmd__v1__##member##_result__init(var);                                                                        \
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_##TYPE;                                                      \
        c->result->member = var

int op_status(struct call *c) {
        struct service *svc = c->svc;
        struct state *s = &svc->state;

        DETAIL(c, StatusResult, STATUS, status, r);
        r->version = call_string(c, SVMD_VERSION);
        r->pid = (uint32_t)getpid();
        r->uptime_ms = (clock_ns(CLOCK_MONOTONIC) - svc->started_ns) / 1000000;
        r->epoch = svc->epoch;
        r->nodes = s->machine->count;
        r->partitions = s->partitions_count;
        r->sessions = s->sessions_count;
        r->reservations = s->reservations_count;
        r->memories = s->memories_count;
        r->mappings = s->mappings_count;
        r->spaces = s->spaces_count;
        r->requests = svc->requests;
        r->refusals = svc->refusals;
        r->journal_used = svc->journal ? journal_used(svc->journal) : 0;
        r->journal_size = svc->journal ? journal_size(svc->journal) : 0;
        r->keeper = svc->options.keeper;
        r->findings = call_take(c, FINDINGS_MAX * sizeof(*r->findings));
        if (!r->findings)
                return -ENOMEM;
        r->n_findings = findings_collect(c, r->findings);
        return 0;
}

static void fill_managed(struct service *svc, uint32_t node, Svmd__V1__Node *row) {
        struct managed_node_info info;
        struct managed_traffic traffic;

        row->online = !svc->state.nodes[node].offline;
        if (!svc->mover || node >= svc->managed.nodes_count)
                return;
        mover_node_info(svc->mover, node, &info);
        row->managed = info.used;
        row->used += info.used;
        row->reserve = info.reserve;
        row->warm = info.warm;
        row->waiting = info.waiting;
        row->bounces = info.thrash.bounces;
        row->thrash_pins = info.thrash.pins;
        row->thrash_naps = info.thrash.naps;
        mover_node_traffic(svc->mover, node, &traffic);
        row->device_faults = traffic.device_faults;
        row->evictions = traffic.evictions;
        row->evicted = traffic.evicted;
}

static Svmd__V1__Node *node_row(struct call *c, uint32_t i) {
        const struct node_desc *d = node_desc(c->svc, i);
        const struct node *n = &c->svc->state.nodes[i];
        Svmd__V1__Node *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__node__init(row);
        row->id = i;
        row->name = (char *)d->name;
        row->kind = (Svmd__V1__NodeKind)d->kind;
        row->kind_name = (char *)node_backend(c->svc, i)->name;
        row->faults = backend_serves_faults(node_backend(c->svc, i), d);
        row->capacity = d->capacity;
        row->used = n->account.used;
        row->limited = n->limited;
        row->hive = d->hive;
        row->model = (char *)d->model;
        row->pool_bytes = (n->pool ? memfile_bytes(n->pool->memfile) : 0) + managed_pool_bytes(c->svc, i);
        row->spaces = n->spaces;
        row->ops = n->device ? node_backend(c->svc, i)->ops_done(n->device) : 0;
        row->va_start = d->va_start;
        row->va_end = d->va_end;
        fill_managed(c->svc, i, row);
        if (node_backend(c->svc, i)->private_ops)
                row->used = private_seen(c->svc, i);
        row->device = (char *)d->device;
        row->delegated = node_backend(c->svc, i)->delegated;
        row->brokered = node_backend(c->svc, i)->brokered;
        devices_fill(c, i, row);
        if (d->kind == NODE_KFD && device_events_put(c, &n->events, &row->events) < 0)
                return NULL;
        return row;
}

int op_nodes(struct call *c) {
        uint32_t from = c->op->nodes->from, count = c->svc->options.machine->count;

        DETAIL(c, NodesResult, NODES, nodes, r);
        r->nodes = call_take(c, SVMD_ROWS_MAX * sizeof(*r->nodes));
        if (!r->nodes)
                return -ENOMEM;
        for (; from < count && r->n_nodes < SVMD_ROWS_MAX; from++) {
                r->nodes[r->n_nodes] = node_row(c, from);
                if (!r->nodes[r->n_nodes++])
                        return -ENOMEM;
        }
        while (from >= count && r->n_nodes < SVMD_ROWS_MAX && devices_next(c, from, &r->nodes[r->n_nodes])) {
                if (!r->nodes[r->n_nodes])
                        return -ENOMEM;
                from = r->nodes[r->n_nodes++]->id + 1;
        }
        c->result->more = r->n_nodes == SVMD_ROWS_MAX;
        return 0;
}

static void fill_cap(struct service *svc, uint32_t from, uint32_t to, Svmd__V1__Link *row) {
        struct managed_flow flow;

        if (!svc->mover || from >= svc->managed.nodes_count || to >= svc->managed.nodes_count)
                return;
        mover_link_flow(svc->mover, from, to, &flow);
        row->rate = flow.rate;
        row->moved = flow.bytes;
        row->put_off = flow.put_off;
}

int op_links(struct call *c) {
        uint32_t node = c->op->links->node;
        bool device = devices_has(c->svc, node);
        int k = device ? 0 : find_node(c, node);
        const struct node_desc *d;

        if (k != 0)
                return k;
        DETAIL(c, LinksResult, LINKS, links, r);
        if (device)
                return devices_links(c, node, r);
        d = node_desc(c->svc, node);
        r->links = call_take(c, (d->links_count + 1) * sizeof(*r->links));
        if (!r->links)
                return -ENOMEM;
        for (uint32_t i = 0; i < d->links_count; i++) {
                Svmd__V1__Link *l = call_take(c, sizeof(*l));

                if (!l)
                        return -ENOMEM;
                svmd__v1__link__init(l);
                l->to = d->links[i].to;
                l->type = d->links[i].type;
                l->weight = d->links[i].weight;
                l->min_bandwidth = d->links[i].min_bandwidth;
                l->max_bandwidth = d->links[i].max_bandwidth;
                fill_cap(c->svc, node, d->links[i].to, l);
                l->peer = d->kind != NODE_HOST && node_desc(c->svc, d->links[i].to)->kind != NODE_HOST;
                r->links[r->n_links++] = l;
        }
        return 0;
}

/* ---- use ---- */

/* What managed ranges of it use on the node. The most that both kinds of memory have had together is not kept: it is at
 * least the most of either. */
static void add_managed(struct service *svc, struct limited of, uint32_t node, Svmd__V1__NodeUse *row) {
        struct managed_group *group = limited_group(of);
        uint64_t used, peak;

        if (!group || !svc->mover || node >= svc->managed.nodes_count)
                return;
        mover_group_used(svc->mover, group, node, &used, &peak);
        row->used += used;
        if (peak > row->peak)
                row->peak = peak;
        if (row->used > row->peak)
                row->peak = row->used;
}

static bool is_unlimited(const struct account *a) {
        const struct bounds b = account_bounds(a);

        return bounds_are_none(&b);
}

int use_rows(struct call *c, struct limited of, bool managed, Svmd__V1__NodeUse ***ret, size_t *ret_count) {
        const uint32_t count = limited_account(of, 0) ? c->svc->options.machine->count : 0;
        Svmd__V1__NodeUse **rows = call_take(c, (count + 1) * sizeof(*rows));
        size_t n = 0;

        if (!rows)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++) {
                const struct account *a = limited_account(of, i);
                Svmd__V1__NodeUse row;

                svmd__v1__node_use__init(&row);
                row.node = i;
                row.used = a->used;
                row.peak = a->peak;
                row.max = a->max;
                row.high = a->high;
                row.low = a->low;
                row.min = a->min;
                if (managed)
                        add_managed(c->svc, of, i, &row);
                if (row.used == 0 && row.peak == 0 && is_unlimited(a))
                        continue;
                rows[n] = call_take(c, sizeof(**rows));
                if (!rows[n])
                        return -ENOMEM;
                *rows[n++] = row;
        }
        *ret = rows;
        *ret_count = n;
        return 0;
}

static Svmd__V1__UsageRow *usage_row(struct call *c, struct partition *p, struct session *s) {
        Svmd__V1__UsageRow *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__usage_row__init(row);
        row->partition = p->name->text;
        if (s) {
                row->session = s->object.id;
                row->pid = s->pid;
                row->uid = s->who.uid;
                row->client = s->client;
        }
        if (use_rows(c, s ? LIMITED_SESSION(s) : LIMITED_PARTITION(p), !s, &row->nodes, &row->n_nodes) < 0)
                return NULL;
        return row;
}

int op_limits(struct call *c) {
        DETAIL(c, UsageResult, USAGE, usage, r);
        r->rows = call_take(c, sizeof(*r->rows));
        if (!r->rows || !(r->rows[0] = usage_row(c, c->session->partition, NULL)))
                return -ENOMEM;
        r->n_rows = 1;
        return 0;
}

/* By session; what a whole partition uses is in its row of PartitionList. */
int op_usage(struct call *c) {
        const Svmd__V1__Usage *m = c->op->usage;
        struct state *s = &c->svc->state;
        size_t bytes = 0;

        DETAIL(c, UsageResult, USAGE, usage, r);
        r->rows = call_take(c, ROWS_OF_NODES * sizeof(*r->rows));
        if (!r->rows)
                return -ENOMEM;
        list_for_each (l, &s->sessions) {
                struct session *session = container_of(l, struct session, by_state);

                if (session->object.id <= m->after || !session->partition || !session->accounts)
                        continue;
                if (m->partition[0] && strcmp(m->partition, session->partition->name->text) != 0)
                        continue;
                if (r->n_rows == ROWS_OF_NODES || bytes > ROWS_BYTES) {
                        c->result->more = true;
                        return 0;
                }
                r->rows[r->n_rows] = usage_row(c, session->partition, session);
                if (!r->rows[r->n_rows])
                        return -ENOMEM;
                bytes += svmd__v1__usage_row__get_packed_size(r->rows[r->n_rows++]);
        }
        return 0;
}

/* ---- partitions, sessions, reservations ---- */

static void fill_flow(struct service *svc, const struct partition *p, Svmd__V1__Partition *row) {
        const struct managed_share *share = p->managed;
        struct managed_traffic traffic;
        struct managed_thrash thrash;
        struct managed_flow flow;

        row->refusals = p->refusals;
        row->policy = (char *)rates_profile(svc, p->name->text, &row->rate)->name;
        if (!share || !svc->mover)
                return;
        mover_group_flow(svc->mover, share->group, &flow, &thrash);
        row->moved = flow.bytes;
        row->put_off = flow.put_off;
        row->bounces = thrash.bounces;
        row->thrash_pins = thrash.pins;
        row->thrash_naps = thrash.naps;
        mover_group_traffic(svc->mover, share->group, &traffic);
        row->cpu_faults = traffic.cpu_faults;
        row->device_faults = traffic.device_faults;
        row->evictions = traffic.evictions;
        row->evicted = traffic.evicted;
}

static Svmd__V1__Partition *partition_row_of(struct call *c, struct partition *p) {
        Svmd__V1__Partition *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__partition__init(row);
        row->name = p->name->text;
        row->start = p->slice.start;
        row->size = p->slice.size;
        row->window = (Svmd__V1__Window)p->window;
        row->domain = p->domain->name->text;
        row->uid = p->name->uid;
        row->gid = p->name->gid;
        row->mode = p->name->mode;
        row->sessions = p->sessions_count;
        row->reservations = p->reservations_count;
        row->reserved_bytes = p->va.used - p->retired;
        row->kept = p->kept_bytes;
        row->kept_max = p->kept_max;
        row->container = (char *)holder_container(p->holder);
        fill_flow(c->svc, p, row);
        if (use_rows(c, LIMITED_PARTITION(p), true, &row->nodes, &row->n_nodes) < 0)
                return NULL;
        return row;
}

int op_partition_list(struct call *c) {
        const Svmd__V1__PartitionList *m = c->op->partition_list;
        struct partition *p =
                m->name[0] ? partition_find(&c->svc->state, m->name) : partition_after(&c->svc->state, m->after);
        size_t bytes = 0;

        if (m->name[0] && (!p || !p->ready))
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s; see svmd-ctl partition list", m->name);
        DETAIL(c, PartitionsResult, PARTITIONS, partitions, r);
        r->partitions = call_take(c, ROWS_OF_NODES * sizeof(*r->partitions));
        if (!r->partitions)
                return -ENOMEM;
        for (; p && r->n_partitions < ROWS_OF_NODES && bytes <= ROWS_BYTES;
             p = m->name[0] ? NULL : partition_after(&c->svc->state, p->name->text)) {
                if (!p->ready)
                        continue;
                r->partitions[r->n_partitions] = partition_row_of(c, p);
                if (!r->partitions[r->n_partitions])
                        return -ENOMEM;
                bytes += svmd__v1__partition__get_packed_size(r->partitions[r->n_partitions++]);
        }
        c->result->more = p != NULL;
        return 0;
}

static Svmd__V1__Session *session_row(struct call *c, const struct session *s) {
        Svmd__V1__Session *row = call_take(c, sizeof(*row));
        char text[200];

        if (!row)
                return NULL;
        svmd__v1__session__init(row);
        row->id = s->object.id;
        row->partition = s->partition ? s->partition->name->text : (char *)protobuf_c_empty_string;
        row->pid = s->pid;
        row->uid = s->who.uid;
        row->gid = s->who.gid;
        row->client = s->client ? s->client : (char *)protobuf_c_empty_string;
        row->reservations = s->reservations_count;
        row->memories = s->memories_count;
        row->spaces = s->spaces_count;
        row->requests = s->requests;
        row->refusals = s->refusals;
        row->dropped_events = s->dropped_total;
        row->registered = s->registered;
        if (device_events_put(c, s->process->events, &row->events) < 0)
                return NULL;
        if (cuda_withholds(c->svc, s, text, sizeof(text)) && !(row->withheld = call_string(c, text)))
                return NULL;
        return row;
}

int op_session_list(struct call *c) {
        const Svmd__V1__SessionList *m = c->op->session_list;

        DETAIL(c, SessionsResult, SESSIONS, sessions, r);
        r->sessions = call_take(c, SVMD_ROWS_MAX * sizeof(*r->sessions));
        if (!r->sessions)
                return -ENOMEM;
        list_for_each (l, &c->svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (s->object.id <= m->after || s->ending)
                        continue;
                if (m->partition[0] && (!s->partition || strcmp(m->partition, s->partition->name->text) != 0))
                        continue;
                if (r->n_sessions == SVMD_ROWS_MAX) {
                        c->result->more = true;
                        return 0;
                }
                r->sessions[r->n_sessions] = session_row(c, s);
                if (!r->sessions[r->n_sessions++])
                        return -ENOMEM;
        }
        return 0;
}

static uint64_t mapped_bytes(const struct reservation *r) {
        uint64_t sum = 0;

        for (const struct mapping *e = vmap_first_from(&r->cpu, 0); e; e = vmap_next(e))
                sum += e->size;
        return sum;
}

static void fill_range(const struct managed_reservation *m, Svmd__V1__Reservation *row) {
        row->kind = SVMD__V1__RESERVATION_KIND__SHARED;
        row->granule = m->granule;
        row->revoked = m->revoked;
        row->mapped = mover_range_memory_bytes(m->range);
}

static void fill_private(const struct private_range *p, Svmd__V1__Reservation *row) {
        row->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        row->granule = SVMD_PAGE;
        row->mapped = private_held(p);
}

static void fill_keeping(const struct service *svc, const struct keeping *k, Svmd__V1__Reservation *row) {
        row->kept = true;
        row->idle_ms = keeping_idle_ms(svc, k);
        row->left_ms = keeping_left_ms(svc, k);
}

Svmd__V1__Reservation *reservation_row(struct call *c, const struct reservation *r) {
        const struct name *n = r->shared ? r->shared->name : NULL;
        Svmd__V1__Reservation *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__reservation__init(row);
        row->id = r->object.id;
        row->address = r->va.start;
        row->size = r->va.size;
        row->session = r->owner ? r->owner->object.id : 0;
        row->mapped = mapped_bytes(r);
        if (managed_of(r))
                fill_range(managed_of(r), row);
        if (private_of(r))
                fill_private(private_of(r), row);
        row->generation = r->generation;
        row->partition = r->partition->name->text;
        if (n) {
                /* A later operation of the request, or undoing this one, may free the reservation before the reply. */
                row->name = call_string(c, n->text);
                row->uid = n->uid;
                row->gid = n->gid;
                row->mode = n->mode;
                row->openers = r->shared->openings_count;
                if (r->shared->keeping)
                        fill_keeping(c->svc, r->shared->keeping, row);
        }
        return row;
}

int op_reservation_list(struct call *c) {
        const Svmd__V1__ReservationList *m = c->op->reservation_list;
        struct partition *p;
        struct va_extent *e;
        int k = call_partition(c, m->partition, &p);

        if (k != 0)
                return k;
        DETAIL(c, ReservationsResult, RESERVATIONS, reservations, r);
        r->reservations = call_take(c, SVMD_ROWS_MAX * sizeof(*r->reservations));
        if (!r->reservations)
                return -ENOMEM;
        for (e = va_first_from(&p->va, m->after ? m->after + 1 : 0); e && r->n_reservations < SVMD_ROWS_MAX;
             e = va_next(e)) {
                if (e->start <= m->after || reservation_of(e)->retired)
                        continue;
                r->reservations[r->n_reservations] = reservation_row(c, reservation_of(e));
                if (!r->reservations[r->n_reservations++])
                        return -ENOMEM;
        }
        c->result->more = e != NULL;
        return 0;
}
