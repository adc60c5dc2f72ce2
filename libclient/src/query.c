#include "query.h"

#include <string.h>

#include "error.h"
#include "options.h"
#include "row.h"
#include "wire.h"

/*
 * A list comes in pages. Each page is asked for with the key of the last row before it; the reply stays where it is
 * while its rows are handed to the program.
 */

/* What the answer to a list is made of. */
static Svmd__V1__Result__DetailCase detail_of(Svmd__V1__Op__OpCase op_case) {
        switch ((int)op_case) {
        case SVMD__V1__OP__OP_NODES: return SVMD__V1__RESULT__DETAIL_NODES;
        case SVMD__V1__OP__OP_LINKS: return SVMD__V1__RESULT__DETAIL_LINKS;
        case SVMD__V1__OP__OP_LIMITS:
        case SVMD__V1__OP__OP_USAGE: return SVMD__V1__RESULT__DETAIL_USAGE;
        case SVMD__V1__OP__OP_PARTITION_LIST: return SVMD__V1__RESULT__DETAIL_PARTITIONS;
        case SVMD__V1__OP__OP_SESSION_LIST: return SVMD__V1__RESULT__DETAIL_SESSIONS;
        case SVMD__V1__OP__OP_RESERVATION_LIST: return SVMD__V1__RESULT__DETAIL_RESERVATIONS;
        case SVMD__V1__OP__OP_RESIDENCY: return SVMD__V1__RESULT__DETAIL_RESIDENCY;
        case SVMD__V1__OP__OP_KEPT_LIST: return SVMD__V1__RESULT__DETAIL_KEPT;
        case SVMD__V1__OP__OP_SHARE_LIST: return SVMD__V1__RESULT__DETAIL_SHARES;
        case SVMD__V1__OP__OP_LEASE_LIST: return SVMD__V1__RESULT__DETAIL_LEASES;
        case SVMD__V1__OP__OP_HOLDERS: return SVMD__V1__RESULT__DETAIL_HOLDERS;
        case SVMD__V1__OP__OP_USAGE_HISTORY: return SVMD__V1__RESULT__DETAIL_USAGE_HISTORY;
        case SVMD__V1__OP__OP_LIMIT_QUERY: return SVMD__V1__RESULT__DETAIL_LIMITED;
        case SVMD__V1__OP__OP_DRIFT: return SVMD__V1__RESULT__DETAIL_DRIFT;
        case SVMD__V1__OP__OP_GRANT_LIST: return SVMD__V1__RESULT__DETAIL_GRANTS;
        case SVMD__V1__OP__OP_POLICY: return SVMD__V1__RESULT__DETAIL_POLICY;
        default: return SVMD__V1__RESULT__DETAIL__NOT_SET;
        }
}

/* NULL: there is none, or it is none of this list. */
static const void *row_at(Svmd__V1__Op__OpCase op_case, const Svmd__V1__Result *r, size_t i) {
        if (r->detail_case != detail_of(op_case))
                return NULL;
        switch (r->detail_case) {
        case SVMD__V1__RESULT__DETAIL_NODES: return i < r->nodes->n_nodes ? r->nodes->nodes[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_LINKS: return i < r->links->n_links ? r->links->links[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_USAGE: return i < r->usage->n_rows ? r->usage->rows[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_PARTITIONS:
                return i < r->partitions->n_partitions ? r->partitions->partitions[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_SESSIONS: return i < r->sessions->n_sessions ? r->sessions->sessions[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_RESERVATIONS:
                return i < r->reservations->n_reservations ? r->reservations->reservations[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_RESIDENCY: return i < r->residency->n_runs ? r->residency->runs[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_KEPT: return i < r->kept->n_kept ? r->kept->kept[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_SHARES: return i < r->shares->n_shares ? r->shares->shares[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_HOLDERS: return i < r->holders->n_rows ? r->holders->rows[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_USAGE_HISTORY:
                return i < r->usage_history->n_rows ? r->usage_history->rows[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_DRIFT: return i < r->drift->n_rows ? r->drift->rows[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_LIMITED: return i < r->limited->n_rows ? r->limited->rows[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_GRANTS: return i < r->grants->n_grants ? r->grants->grants[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_LEASES: return i < r->leases->n_leases ? r->leases->leases[i] : NULL;
        case SVMD__V1__RESULT__DETAIL_POLICY: return i < r->policy->n_settings ? r->policy->settings[i] : NULL;
        default: return NULL;
        }
}

void walk_begin(struct walk *w, Svmd__V1__Op__OpCase op_case, void *body, int (*row)(struct walk *w, const void *row),
                void *userdata) {
        memset(w, 0, sizeof(*w));
        svmd__v1__op__init(&w->op);
        w->op.op_case = op_case;
        w->op.hello = body; /* all members are pointers to messages */
        w->row = row;
        w->userdata = userdata;
}

int walk_run(svmd_session *s, struct walk *w) {
        int r = session_check(s);

        if (r)
                return r;
        for (bool more = true; !r && more;) {
                const Svmd__V1__Result *result;
                const void *row;
                struct call *c;
                size_t i = 0;

                r = call_one(s, &w->op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
                if (r)
                        break;
                w->result = result;
                while (!r && (row = row_at(w->op.op_case, result, i))) {
                        r = w->row(w, row);
                        i++;
                }
                more = result->more && i && !w->over;
                call_put(s, c);
        }
        return session_leave(s, r);
}

/* ---- nodes and links ---- */

static int node_row(struct walk *w, const void *data) {
        const Svmd__V1__Node *n = data;
        const struct svmd_node_row row = {
                .id = n->id,
                .name = n->name,
                .model = n->model,
                .kind = n->kind,
                .faults = n->faults,
                .online = n->online,
                .capacity = n->capacity,
                .used = n->used,
                .hive = n->hive,
                .pool_bytes = n->pool_bytes,
                .spaces = n->spaces,
                .ops = n->ops,
                .va_start = n->va_start,
                .va_end = n->va_end,
                .limits = n->limited,
                .managed = n->managed,
                .reserve = n->reserve,
                .warm = n->warm,
                .waiting = n->waiting,
                .device = n->device,
                .driver = n->driver,
                .version = n->version,
                .bus = n->bus,
                .can = n->can,
                .trouble = n->trouble,
                .bounces = n->bounces,
                .pins = n->thrash_pins,
                .naps = n->thrash_naps,
                .device_faults = n->device_faults,
                .evictions = n->evictions,
                .evicted = n->evicted,
                .functions = n->functions,
                .functions_most = n->functions_most,
                .physical = n->physical,
                .delegated = n->delegated,
                .brokered = n->brokered,
                .number = n->number,
                .driver_id = n->driver_id,
                .kind_name = n->kind_name,
                .events = row_events(n->events),
        };

        w->op.nodes->from = n->id + 1;
        return w->fn.node(&row, w->userdata);
}

int svmd_query_nodes(svmd_session *s, svmd_node_fn fn, void *userdata) {
        Svmd__V1__Nodes body = SVMD__V1__NODES__INIT;
        struct walk w;

        walk_begin(&w, SVMD__V1__OP__OP_NODES, &body, node_row, userdata);
        w.fn.node = fn;
        return walk_run(s, &w);
}

static int link_row(struct walk *w, const void *data) {
        const Svmd__V1__Link *l = data;
        const struct svmd_link_row row = {
                .from = w->op.links->node,
                .to = l->to,
                .type = l->type,
                .weight = l->weight,
                .min_bandwidth = l->min_bandwidth,
                .max_bandwidth = l->max_bandwidth,
                .peer = l->peer,
                .rate = l->rate,
                .moved = l->moved,
                .put_off = l->put_off,
        };

        return w->fn.link(&row, w->userdata);
}

int svmd_query_links(svmd_session *s, svmd_node node, svmd_link_fn fn, void *userdata) {
        Svmd__V1__Links body = SVMD__V1__LINKS__INIT;
        struct walk w;

        body.node = node;
        walk_begin(&w, SVMD__V1__OP__OP_LINKS, &body, link_row, userdata);
        w.fn.link = fn;
        return walk_run(s, &w);
}

/* ---- use ---- */

static int use_row(struct walk *w, const void *data) {
        const Svmd__V1__UsageRow *u = data;
        int r = 0;

        for (size_t i = 0; !r && i < u->n_nodes; i++) {
                struct svmd_use_row row = {
                        .partition = u->partition,
                        .client = u->client,
                        .session = u->session,
                        .pid = u->pid,
                        .uid = u->uid,
                };

                row_use(&row, u->nodes[i]);
                r = w->fn.use(&row, w->userdata);
        }
        return r;
}

static int session_use_row(struct walk *w, const void *data) {
        const Svmd__V1__UsageRow *u = data;

        w->op.usage->after = u->session;
        return use_row(w, u);
}

int svmd_query_limits(svmd_session *s, svmd_use_fn fn, void *userdata) {
        Svmd__V1__Limits body = SVMD__V1__LIMITS__INIT;
        struct walk w;

        walk_begin(&w, SVMD__V1__OP__OP_LIMITS, &body, use_row, userdata);
        w.fn.use = fn;
        return walk_run(s, &w);
}

struct usage_sums {
        svmd_use_fn fn;
        void *userdata;
};

static int partition_sums(const struct svmd_partition_row *row, void *userdata) {
        const struct usage_sums *sums = userdata;
        int r = 0;

        for (size_t i = 0; !r && i < row->nodes_count; i++)
                r = sums->fn(&row->nodes[i], sums->userdata);
        return r;
}

int svmd_query_usage(svmd_session *s, const char *partition, svmd_use_fn fn, void *userdata) {
        struct usage_sums sums = { fn, userdata };
        Svmd__V1__Usage body = SVMD__V1__USAGE__INIT;
        struct walk w;
        int r;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_USAGE, &body, session_use_row, userdata);
        w.fn.use = fn;
        r = walk_run(s, &w);
        return r ? r : svmd_query_partitions(s, partition, partition_sums, &sums);
}

/* ---- status ---- */

static void take_status(const Svmd__V1__StatusResult *w, struct svmd_status *ret) {
        strncat(ret->version, w->version, sizeof(ret->version) - 1);
        ret->pid = w->pid;
        ret->keeper = w->keeper;
        ret->uptime_ms = w->uptime_ms;
        ret->epoch = w->epoch;
        ret->nodes = w->nodes;
        ret->partitions = w->partitions;
        ret->sessions = w->sessions;
        ret->reservations = w->reservations;
        ret->memories = w->memories;
        ret->mappings = w->mappings;
        ret->spaces = w->spaces;
        ret->requests = w->requests;
        ret->refusals = w->refusals;
        ret->journal_used = w->journal_used;
        ret->journal_size = w->journal_size;
}

static int ask_status(svmd_session *s, struct call **ret, const Svmd__V1__StatusResult **ret_status) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case != SVMD__V1__RESULT__DETAIL_STATUS) {
                call_put(s, c);
                return session_leave(
                        s, fail(SVMD_E_MALFORMED, "svmd answered a question about its status with something else"));
        }
        *ret = c;
        *ret_status = result->status;
        return 0;
}

int svmd_query_status(svmd_session *s, struct svmd_status *ret) {
        const Svmd__V1__StatusResult *result;
        struct svmd_status status = { 0 };
        struct call *c;
        int r = ask_status(s, &c, &result);

        if (r)
                return r;
        take_status(result, &status);
        call_put(s, c);
        return session_leave(s, options_give(ret, &status, sizeof(status), "svmd_status"));
}

int svmd_query_findings(svmd_session *s, svmd_finding_fn fn, void *userdata) {
        const Svmd__V1__StatusResult *result;
        struct call *c;
        int r = ask_status(s, &c, &result);

        if (r)
                return r;
        for (size_t i = 0; !r && i < result->n_findings; i++)
                r = fn(result->findings[i]->id, result->findings[i]->level, result->findings[i]->text, userdata);
        call_put(s, c);
        return session_leave(s, r);
}
