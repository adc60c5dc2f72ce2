#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "options.h"
#include "query.h"
#include "wire.h"

/*
 * A list comes in pages. Each page is asked for with the key of the last row before it; the reply stays where it is
 * while its rows are handed to the program.
 */
int query_walk(svmd_session *s, Svmd__V1__Op *op, uint64_t *key, query_page_fn page, const struct query *q) {
        bool more = true;
        int r = session_check(s);

        if (r)
                return r;
        while (!r && more) {
                const Svmd__V1__Result *result;
                struct call *c;
                uint64_t before = *key;

                r = call_one(s, op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
                if (r)
                        break;
                r = page(result, key, q);
                more = result->more && *key != before;
                call_put(s, c);
        }
        return session_leave(s, r);
}

/* ---- nodes and links ---- */

static int node_row(const Svmd__V1__Node *n, const struct query *q) {
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
        };

        return q->fn.node(&row, q->userdata);
}

static int nodes_page(const Svmd__V1__Result *result, uint64_t *key, const struct query *q) {
        int r = 0;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_NODES)
                return 0;
        for (size_t i = 0; !r && i < result->nodes->n_nodes; i++) {
                r = node_row(result->nodes->nodes[i], q);
                *key = result->nodes->nodes[i]->id + 1ull;
                q->nodes->from = (uint32_t)*key;
        }
        return r;
}

int svmd_query_nodes(svmd_session *s, svmd_node_fn fn, void *userdata) {
        Svmd__V1__Nodes body = SVMD__V1__NODES__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const struct query q = { .fn.node = fn, .userdata = userdata, .nodes = &body };
        uint64_t key = 0;

        op.op_case = SVMD__V1__OP__OP_NODES;
        op.nodes = &body;
        return query_walk(s, &op, &key, nodes_page, &q);
}

static int links_page(const Svmd__V1__Result *result, uint64_t *key, const struct query *q) {
        int r = 0;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_LINKS)
                return 0;
        for (size_t i = 0; !r && i < result->links->n_links; i++) {
                const Svmd__V1__Link *l = result->links->links[i];
                const struct svmd_link_row row = {
                        .from = q->node,
                        .to = l->to,
                        .type = l->type,
                        .weight = l->weight,
                        .min_bandwidth = l->min_bandwidth,
                        .max_bandwidth = l->max_bandwidth,
                        .peer = l->peer,
                };

                r = q->fn.link(&row, q->userdata);
        }
        return r;
}

int svmd_query_links(svmd_session *s, svmd_node node, svmd_link_fn fn, void *userdata) {
        Svmd__V1__Links body = SVMD__V1__LINKS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const struct query q = { .fn.link = fn, .userdata = userdata, .node = node };
        uint64_t key = 0;

        body.node = node;
        op.op_case = SVMD__V1__OP__OP_LINKS;
        op.links = &body;
        return query_walk(s, &op, &key, links_page, &q);
}

/* ---- use ---- */

static int use_rows(const Svmd__V1__UsageRow *u, const struct query *q) {
        int r = 0;

        for (size_t i = 0; !r && i < u->n_nodes; i++) {
                const struct svmd_use_row row = {
                        .partition = u->partition,
                        .client = u->client,
                        .session = u->session,
                        .pid = u->pid,
                        .uid = u->uid,
                        .node = u->nodes[i]->node,
                        .used = u->nodes[i]->used,
                        .peak = u->nodes[i]->peak,
                        .max = u->nodes[i]->max,
                };

                r = q->fn.use(&row, q->userdata);
        }
        return r;
}

static int usage_page(const Svmd__V1__Result *result, uint64_t *key, const struct query *q) {
        int r = 0;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_USAGE)
                return 0;
        for (size_t i = 0; !r && i < result->usage->n_rows; i++) {
                const Svmd__V1__UsageRow *row = result->usage->rows[i];

                r = use_rows(row, q);
                if (row->session)
                        *key = row->session;
        }
        if (q->usage)
                q->usage->after = *key;
        return r;
}

int svmd_query_limits(svmd_session *s, svmd_use_fn fn, void *userdata) {
        Svmd__V1__Limits body = SVMD__V1__LIMITS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const struct query q = { .fn.use = fn, .userdata = userdata };
        uint64_t key = 0;

        op.op_case = SVMD__V1__OP__OP_LIMITS;
        op.limits = &body;
        return query_walk(s, &op, &key, usage_page, &q);
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
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const struct query q = { .fn.use = fn, .userdata = userdata, .usage = &body };
        uint64_t key = 0;
        int r;

        if (partition)
                body.partition = (char *)partition;
        op.op_case = SVMD__V1__OP__OP_USAGE;
        op.usage = &body;
        r = query_walk(s, &op, &key, usage_page, &q);
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

static int status_page(const Svmd__V1__Result *result, uint64_t *key, const struct query *q) {
        int r = 0;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_STATUS)
                return 0;
        if (q->status)
                take_status(result->status, q->status);
        for (size_t i = 0; q->fn.finding && !r && i < result->status->n_findings; i++) {
                const Svmd__V1__Finding *f = result->status->findings[i];

                r = q->fn.finding(f->id, f->level, f->text, q->userdata);
        }
        return r;
}

static int ask_status(svmd_session *s, const struct query *q) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        uint64_t key = 0;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        return query_walk(s, &op, &key, status_page, q);
}

int svmd_query_status(svmd_session *s, struct svmd_status *ret) {
        struct svmd_status status = { 0 };
        const struct query q = { .status = &status };
        int r = ask_status(s, &q);

        return r ? r : options_give(ret, &status, sizeof(status), "svmd_status");
}

int svmd_query_findings(svmd_session *s, svmd_finding_fn fn, void *userdata) {
        const struct query q = { .fn.finding = fn, .userdata = userdata };

        return ask_status(s, &q);
}
