#include "service/internal.h"

#include <errno.h>

#include "service/grant.h"

/* What svmd has done, as sums: the loop's own, and the mover's. */

enum { PAGE_OF_FLOWS = 512 };

static const char *const causes[MANAGED_CAUSES] = {
        [MANAGED_BY_FAULT] = "fault",       [MANAGED_BY_DEVICE] = "device",   [MANAGED_BY_PREFETCH] = "prefetch",
        [MANAGED_BY_EVICTION] = "eviction", [MANAGED_BY_REQUEST] = "request", [MANAGED_BY_ADVICE] = "advice",
        [MANAGED_BY_DRAIN] = "drain",       [MANAGED_BY_REVOKE] = "revoke",   [MANAGED_BY_RESTART] = "restart",
};

static const char *op_name(unsigned op) {
        return op == FIGURES_SEVERAL ? "several" : op_row(op)->name;
}

/* -ENOMEM. What never happened is left out. */
static int put_histogram(struct call *c, Svmd__V1__MetricsResult *r, const struct histogram *h, const char *name,
                         const char *label) {
        Svmd__V1__Histogram *row;

        if (!h->count)
                return 0;
        row = call_take(c, sizeof(*row));
        if (!row)
                return -ENOMEM;
        svmd__v1__histogram__init(row);
        row->name = (char *)name;
        row->label = (char *)label;
        row->count = h->count;
        row->sum_ns = h->sum_ns;
        row->first_ns = HISTOGRAM_FIRST_NS;
        row->size = HISTOGRAM_BUCKETS - 1;
        row->beyond = h->buckets[HISTOGRAM_BUCKETS - 1];
        row->buckets = call_take(c, row->size * sizeof(*row->buckets));
        if (!row->buckets)
                return -ENOMEM;
        for (unsigned i = 0; i < row->size; i++) {
                row->buckets[i] = h->buckets[i];
                row->n_buckets = h->buckets[i] ? i + 1 : row->n_buckets;
        }
        r->histograms[r->n_histograms++] = row;
        return 0;
}

static int put_op(struct call *c, Svmd__V1__MetricsResult *r, unsigned op) {
        const struct figures *f = &c->svc->figures;
        Svmd__V1__OperationCount *row;

        if (!f->ops[op].done && !f->ops[op].refused)
                return 0;
        row = call_take(c, sizeof(*row));
        if (!row)
                return -ENOMEM;
        svmd__v1__operation_count__init(row);
        row->operation = (char *)op_name(op);
        row->done = f->ops[op].done;
        row->refused = f->ops[op].refused;
        r->operations[r->n_operations++] = row;
        return 0;
}

static int put_loop(struct call *c, Svmd__V1__MetricsResult *r) {
        int k = 0;

        for (unsigned op = 0; k == 0 && op < FIGURES_OPS; op++) {
                k = put_op(c, r, op);
                if (k == 0)
                        k = put_histogram(c, r, &c->svc->figures.requests[op], "request",
                                          c->svc->figures.requests[op].count ? op_name(op) : "");
        }
        return k;
}

static int put_mover(struct call *c, Svmd__V1__MetricsResult *r) {
        struct managed_figures f;
        int k;

        if (!c->svc->mover)
                return 0;
        mover_figures(c->svc->mover, &f);
        k = put_histogram(c, r, &f.cpu_faults, "cpu-fault", "");
        if (k == 0)
                k = put_histogram(c, r, &f.device_faults, "device-fault", "");
        for (unsigned i = 0; k == 0 && i < MANAGED_CAUSES; i++)
                k = put_histogram(c, r, &f.moves[i], "migration", causes[i]);
        return k;
}

static int put_flow(struct call *c, Svmd__V1__MetricsResult *r, uint32_t from, uint32_t to, uint64_t at) {
        struct managed_flown flown;
        Svmd__V1__Flow *row;

        mover_flown(c->svc->mover, from, to, &flown);
        if (!flown.moves)
                return 0;
        row = call_take(c, sizeof(*row));
        if (!row)
                return -ENOMEM;
        svmd__v1__flow__init(row);
        row->at = at;
        row->from = from;
        row->to = to;
        row->moves = flown.moves;
        row->bytes = flown.bytes;
        r->flows[r->n_flows++] = row;
        return 0;
}

static int put_grants(struct call *c, Svmd__V1__MetricsResult *r) {
        struct grants_sum sum;

        grants_sum(c->svc, &sum);
        r->grants = call_take(c, (GRANT_EXPIRED + 2) * sizeof(*r->grants));
        if (!r->grants)
                return -ENOMEM;
        for (unsigned i = 0; i <= GRANT_EXPIRED + 1; i++) {
                Svmd__V1__GrantCount *row = call_take(c, sizeof(*row));

                if (!row)
                        return -ENOMEM;
                svmd__v1__grant_count__init(row);
                row->state = (Svmd__V1__GrantState)(i + 1);
                row->count = i <= GRANT_EXPIRED ? sum.count[i] : c->svc->figures.grants_failed;
                row->bytes = i <= GRANT_EXPIRED ? sum.bytes[i] : 0;
                r->grants[r->n_grants++] = row;
        }
        return 0;
}

/* Pairs of nodes are counted from 1, row by row. */
static int put_flows(struct call *c, Svmd__V1__MetricsResult *r, uint64_t after) {
        uint64_t count = c->svc->mover ? c->svc->managed.nodes_count : 0;
        int k = 0;

        for (uint64_t at = after; k == 0 && at < count * count; at++) {
                c->result->more = r->n_flows == PAGE_OF_FLOWS;
                if (c->result->more)
                        return 0;
                k = put_flow(c, r, (uint32_t)(at / count), (uint32_t)(at % count), at + 1);
        }
        return k;
}

int op_metrics(struct call *c) {
        uint64_t after = c->op->metrics->after;
        Svmd__V1__MetricsResult *r = call_take(c, sizeof(*r));
        int k = 0;

        if (!r)
                return -ENOMEM;
        svmd__v1__metrics_result__init(r);
        r->started_ns = c->svc->figures.began_ns;
        r->histograms = call_take(c, (FIGURES_OPS + MANAGED_CAUSES + 2) * sizeof(*r->histograms));
        r->operations = call_take(c, FIGURES_OPS * sizeof(*r->operations));
        r->flows = call_take(c, PAGE_OF_FLOWS * sizeof(*r->flows));
        if (!r->histograms || !r->operations || !r->flows)
                return -ENOMEM;
        if (after == 0)
                k = put_loop(c, r);
        if (k == 0 && after == 0)
                k = put_mover(c, r);
        if (k == 0 && after == 0)
                k = put_grants(c, r);
        if (k == 0)
                k = put_flows(c, r, after);
        if (k < 0)
                return k;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_METRICS;
        c->result->metrics = r;
        return 0;
}
