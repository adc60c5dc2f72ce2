#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "error.h"
#include "options.h"
#include "order.h"
#include "query.h"
#include "row.h"
#include "wire.h"

/* ---- partitions ---- */

static int begin(svmd_session *s, const char *name, struct svmd_partition_options *opts,
                 const struct svmd_partition_options *given) {
        int r = session_check(s);

        if (!r && !name)
                r = fail(SVMD_E_NAME, "no name of a partition was given");
        if (!r)
                r = options_take(opts, sizeof(*opts), given, "svmd_partition_options");
        return r;
}

static int create(svmd_session *s, Svmd__V1__PartitionCreate *body, int dry_run, uint64_t *ret_base) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        op.op_case = SVMD__V1__OP__OP_PARTITION_CREATE;
        op.partition_create = body;
        r = call_one(s, &op, mode_of(dry_run), &c, &result);
        if (r)
                return r;
        if (ret_base)
                *ret_base = result->address;
        call_put(s, c);
        return 0;
}

int svmd_partition_create(svmd_session *s, const char *name, const struct svmd_partition_options *given,
                          uint64_t *ret_base) {
        Svmd__V1__PartitionCreate body = SVMD__V1__PARTITION_CREATE__INIT;
        struct svmd_partition_options opts;
        struct limits limits;
        int r = begin(s, name, &opts, given);

        if (!r)
                r = limits_take(&limits, opts.limits, opts.limits_count);
        if (r)
                return r;
        body.name = (char *)name;
        body.size = opts.length;
        body.window = opts.window == SVMD_WINDOW_LOW ? SVMD__V1__WINDOW__LOW : SVMD__V1__WINDOW__PRIMARY;
        if (opts.domain)
                body.domain = (char *)opts.domain;
        body.uid = opts.uid;
        body.gid = opts.gid;
        body.mode = opts.mode ? opts.mode : 0600;
        body.n_limits = opts.limits_count;
        body.limits = limits.pointers;
        body.set_kept = opts.has_kept_max != 0;
        body.kept_max = opts.kept_max;
        if (opts.container)
                body.container = (char *)opts.container;
        body.container_pid = opts.container_pid;
        body.container_started = opts.container_started;
        r = create(s, &body, opts.dry_run, ret_base);
        limits_free(&limits);
        return session_leave(s, r);
}

static void fill_set(Svmd__V1__PartitionSet *body, const char *name, const struct svmd_partition_options *opts,
                     const struct limits *limits, unsigned set) {
        body->name = (char *)name;
        body->n_limits = opts->limits_count;
        body->limits = limits->pointers;
        body->set_owner = set & SVMD_SET_OWNER;
        body->uid = opts->uid;
        body->gid = opts->gid;
        body->set_mode = (set & SVMD_SET_MODE) != 0;
        body->mode = opts->mode;
        body->set_kept = opts->has_kept_max != 0;
        body->kept_max = opts->kept_max;
        body->come_down = opts->come_down != 0;
        body->steal = (opts->come_down & SVMD_STEAL) != 0;
        body->deadline_ms = opts->deadline_ms;
}

int svmd_partition_set(svmd_session *s, const char *name, const struct svmd_partition_options *given, unsigned set) {
        Svmd__V1__PartitionSet body = SVMD__V1__PARTITION_SET__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_partition_options opts;
        struct limits limits;
        int r = begin(s, name, &opts, given);

        if (!r)
                r = limits_take(&limits, opts.limits, opts.limits_count);
        if (r)
                return r;
        fill_set(&body, name, &opts, &limits, set);
        op.op_case = SVMD__V1__OP__OP_PARTITION_SET;
        op.partition_set = &body;
        r = call_simple(s, &op, mode_of(opts.dry_run));
        limits_free(&limits);
        return session_leave(s, r);
}

int svmd_partition_delete(svmd_session *s, const char *name, unsigned flags, int dry_run) {
        return svmd_partition_delete_by(s, name, flags, 0, dry_run);
}

int svmd_partition_delete_by(svmd_session *s, const char *name, unsigned flags, uint64_t deadline_ms, int dry_run) {
        Svmd__V1__PartitionDelete body = SVMD__V1__PARTITION_DELETE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (!r && !name)
                r = fail(SVMD_E_NAME, "no name of a partition was given");
        if (r)
                return r;
        body.name = (char *)name;
        body.end_sessions = (flags & SVMD_DELETE_END_SESSIONS) != 0;
        body.drop_kept = (flags & SVMD_DELETE_DROP_KEPT) != 0;
        body.deadline_ms = deadline_ms;
        op.op_case = SVMD__V1__OP__OP_PARTITION_DELETE;
        op.partition_delete = &body;
        return session_leave(s, call_simple(s, &op, mode_of(dry_run)));
}

/* ---- plans ---- */

static int plan_delete(svmd_session *s, const char *name, svmd_plan_fn fn, void *userdata) {
        Svmd__V1__PartitionDelete body = SVMD__V1__PARTITION_DELETE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (!r && !name)
                r = fail(SVMD_E_NAME, "no name of a partition was given");
        if (r)
                return r;
        body.name = (char *)name;
        body.end_sessions = body.drop_kept = true;
        op.op_case = SVMD__V1__OP__OP_PARTITION_DELETE;
        op.partition_delete = &body;
        return session_leave(s, plan_call(s, &op, fn, userdata));
}

int svmd_partition_plan(svmd_session *s, const char *name, const struct svmd_partition_options *given, svmd_plan_fn fn,
                        void *userdata) {
        Svmd__V1__PartitionSet body = SVMD__V1__PARTITION_SET__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_partition_options opts;
        struct limits limits;
        int r;

        if (!given)
                return plan_delete(s, name, fn, userdata);
        r = begin(s, name, &opts, given);
        if (!r)
                r = limits_take(&limits, opts.limits, opts.limits_count);
        if (r)
                return r;
        fill_set(&body, name, &opts, &limits, 0);
        op.op_case = SVMD__V1__OP__OP_PARTITION_SET;
        op.partition_set = &body;
        r = plan_call(s, &op, fn, userdata);
        limits_free(&limits);
        return session_leave(s, r);
}

static int partition_with_nodes(struct walk *w, const Svmd__V1__Partition *p, struct svmd_use_row *nodes) {
        const struct svmd_partition_row row = {
                .name = p->name,
                .domain = p->domain,
                .base = p->start,
                .length = p->size,
                .window = p->window == SVMD__V1__WINDOW__LOW ? SVMD_WINDOW_LOW : SVMD_WINDOW_PRIMARY,
                .mode = p->mode,
                .uid = p->uid,
                .gid = p->gid,
                .sessions = p->sessions,
                .reservations = p->reservations,
                .reserved_bytes = p->reserved_bytes,
                .nodes = nodes,
                .nodes_count = p->n_nodes,
                .kept = p->kept,
                .kept_max = p->kept_max,
                .policy = p->policy,
                .rate = p->rate,
                .moved = p->moved,
                .put_off = p->put_off,
                .bounces = p->bounces,
                .pins = p->thrash_pins,
                .naps = p->thrash_naps,
                .refusals = p->refusals,
                .cpu_faults = p->cpu_faults,
                .device_faults = p->device_faults,
                .evictions = p->evictions,
                .evicted = p->evicted,
                .container = p->container,
        };

        for (size_t i = 0; i < p->n_nodes; i++) {
                nodes[i] = (struct svmd_use_row){ .partition = p->name, .client = "" };
                row_use(&nodes[i], p->nodes[i]);
        }
        return w->fn.partition(&row, w->userdata);
}

static int partition_row(struct walk *w, const void *data) {
        const Svmd__V1__Partition *p = data;
        struct svmd_use_row *nodes = calloc(p->n_nodes + 1, sizeof(*nodes));
        int r;

        if (!nodes)
                return fail_memory();
        w->name[0] = 0;
        strncat(w->name, p->name, SVMD_NAME_MAX);
        w->op.partition_list->after = w->name;
        r = partition_with_nodes(w, p, nodes);
        free(nodes);
        return r;
}

int svmd_query_partitions(svmd_session *s, const char *name, svmd_partition_fn fn, void *userdata) {
        Svmd__V1__PartitionList body = SVMD__V1__PARTITION_LIST__INIT;
        struct walk w;

        if (name)
                body.name = (char *)name;
        walk_begin(&w, SVMD__V1__OP__OP_PARTITION_LIST, &body, partition_row, userdata);
        w.fn.partition = fn;
        return walk_run(s, &w);
}

/* ---- sessions ---- */

static int session_row(struct walk *w, const void *data) {
        const Svmd__V1__Session *from = data;
        const struct svmd_session_row row = {
                .id = from->id,
                .partition = from->partition,
                .client = from->client,
                .pid = from->pid,
                .uid = from->uid,
                .gid = from->gid,
                .reservations = from->reservations,
                .memories = from->memories,
                .spaces = from->spaces,
                .requests = from->requests,
                .refusals = from->refusals,
                .dropped_events = from->dropped_events,
                .withheld = from->withheld,
                .registered = from->registered,
                .events = row_events(from->events),
        };

        w->op.session_list->after = from->id;
        return w->fn.session(&row, w->userdata);
}

int svmd_query_sessions(svmd_session *s, const char *partition, svmd_session_fn fn, void *userdata) {
        Svmd__V1__SessionList body = SVMD__V1__SESSION_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_SESSION_LIST, &body, session_row, userdata);
        w.fn.session = fn;
        return walk_run(s, &w);
}

int svmd_session_kill(svmd_session *s, uint64_t session, int dry_run) {
        Svmd__V1__SessionKill body = SVMD__V1__SESSION_KILL__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.session = session;
        op.op_case = SVMD__V1__OP__OP_SESSION_KILL;
        op.session_kill = &body;
        return session_leave(s, call_simple(s, &op, mode_of(dry_run)));
}

/* ---- reservations ---- */

static int reservation_row(struct walk *w, const void *data) {
        const Svmd__V1__Reservation *from = data;
        struct svmd_reservation_row row;

        row_reservation(&row, from);
        w->op.reservation_list->after = from->address;
        return w->fn.reservation(&row, w->userdata);
}

int svmd_query_reservations(svmd_session *s, const char *partition, svmd_reservation_fn fn, void *userdata) {
        Svmd__V1__ReservationList body = SVMD__V1__RESERVATION_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_RESERVATION_LIST, &body, reservation_row, userdata);
        w.fn.reservation = fn;
        return walk_run(s, &w);
}

int svmd_monitor(svmd_session *s, int on) {
        Svmd__V1__Monitor body = SVMD__V1__MONITOR__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.on = on != 0;
        op.op_case = SVMD__V1__OP__OP_MONITOR;
        op.monitor = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

/* ---- managed ranges and nodes ---- */

static int run_in(svmd_session *s, svmd_fence **ret, const char *partition, struct order *o) {
        if (!partition)
                return fail(SVMD_E_NAME, "no name was given of the partition that has the range");
        return order_run(s, ret, o);
}

int svmd_partition_migrate(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size,
                           svmd_node node) {
        struct order o;

        order_migrate(&o, partition, address, size, node);
        return run_in(s, ret, partition, &o);
}

int svmd_partition_evict(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        struct order o;

        order_evict(&o, partition, address, size);
        return run_in(s, ret, partition, &o);
}

int svmd_partition_discard(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        struct order o;

        order_discard(&o, partition, address, size);
        return run_in(s, ret, partition, &o);
}

int svmd_partition_revoke(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, int off) {
        struct order o;

        order_revoke(&o, partition, address, off);
        return run_in(s, ret, partition, &o);
}

int svmd_node_set(svmd_session *s, svmd_fence **ret, svmd_node node, unsigned action) {
        struct order o;

        if (action < SVMD_NODE_DRAIN || action > SVMD_NODE_LOST)
                return fail(SVMD_E_INVALID,
                            "%u is none of SVMD_NODE_DRAIN, SVMD_NODE_OFFLINE, SVMD_NODE_ONLINE, SVMD_NODE_LOST",
                            action);
        order_node_set(&o, node, action);
        return order_run(s, ret, &o);
}

int svmd_node_plan(svmd_session *s, svmd_node node, unsigned action, svmd_plan_fn fn, void *userdata) {
        Svmd__V1__NodePlan body = SVMD__V1__NODE_PLAN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.node = node;
        body.action = (Svmd__V1__NodeAction)action;
        op.op_case = SVMD__V1__OP__OP_NODE_PLAN;
        op.node_plan = &body;
        return session_leave(s, plan_call(s, &op, fn, userdata));
}

int svmd_upgrade(svmd_session *s, const char *binary, unsigned flags) {
        Svmd__V1__Upgrade body = SVMD__V1__UPGRADE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        if (flags & ~(unsigned)(SVMD_UPGRADE_KEEPER | SVMD_UPGRADE_CHECK))
                return session_leave(s, fail(SVMD_E_INVALID, "%u has bits that are no SVMD_UPGRADE_*", flags));
        if (binary)
                body.binary = (char *)binary;
        body.keeper = (flags & SVMD_UPGRADE_KEEPER) != 0;
        op.op_case = SVMD__V1__OP__OP_UPGRADE;
        op.upgrade = &body;
        return session_leave(s, call_simple(s, &op, mode_of(flags & SVMD_UPGRADE_CHECK)));
}
