#include <string.h>

#include "error.h"
#include "query.h"
#include "wire.h"

/* What svmd has done. Its answer has four lists; the first page has all of three of them, and flows come in pages. */

enum { BUCKETS_MAX = 64 };

struct asking {
        svmd_metric_fn fn;
        void *userdata;
        uint64_t after;
        bool more;
};

static int operation(const struct asking *a, const Svmd__V1__MetricsResult *m, const Svmd__V1__OperationCount *o) {
        const struct svmd_metric_row row = {
                .kind = SVMD_METRIC_OPERATIONS,
                .started_ns = m->started_ns,
                .name = "",
                .label = o->operation,
                .count = o->done,
                .refused = o->refused,
        };

        return a->fn(&row, a->userdata);
}

/* Those that were left out are empty. */
static int histogram(const struct asking *a, const Svmd__V1__MetricsResult *m, const Svmd__V1__Histogram *h) {
        uint64_t buckets[BUCKETS_MAX] = { 0 };
        const struct svmd_metric_row row = {
                .kind = SVMD_METRIC_HISTOGRAM,
                .started_ns = m->started_ns,
                .name = h->name,
                .label = h->label,
                .count = h->count,
                .sum_ns = h->sum_ns,
                .first_ns = h->first_ns,
                .buckets = buckets,
                .buckets_count = h->size,
        };

        if (h->size > BUCKETS_MAX || h->n_buckets > h->size)
                return fail(SVMD_E_MALFORMED, "svmd sent a histogram with more buckets than it may have");
        if (h->n_buckets)
                memcpy(buckets, h->buckets, h->n_buckets * sizeof(buckets[0]));
        return a->fn(&row, a->userdata);
}

static int flow(const struct asking *a, const Svmd__V1__MetricsResult *m, const Svmd__V1__Flow *f) {
        const struct svmd_metric_row row = {
                .kind = SVMD_METRIC_FLOW,
                .started_ns = m->started_ns,
                .name = "",
                .label = "",
                .count = f->moves,
                .from = f->from,
                .to = f->to,
                .bytes = f->bytes,
        };

        return a->fn(&row, a->userdata);
}

static int grants(const struct asking *a, const Svmd__V1__MetricsResult *m, const Svmd__V1__GrantCount *g) {
        static const char *const states[] = { "", "asked", "held", "expired", "failed" };
        const struct svmd_metric_row row = {
                .kind = SVMD_METRIC_GRANTS,
                .started_ns = m->started_ns,
                .name = "",
                .label = (unsigned)g->state < sizeof(states) / sizeof(states[0]) ? states[g->state] : "",
                .count = g->count,
                .bytes = g->bytes,
        };

        return a->fn(&row, a->userdata);
}

static int take(struct asking *a, const Svmd__V1__Result *result) {
        const Svmd__V1__MetricsResult *m = result->metrics;
        int r = 0;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_METRICS)
                return fail(SVMD_E_MALFORMED, "svmd answered a question about what it has done with something else");
        for (size_t i = 0; !r && i < m->n_operations; i++)
                r = operation(a, m, m->operations[i]);
        for (size_t i = 0; !r && i < m->n_histograms; i++)
                r = histogram(a, m, m->histograms[i]);
        for (size_t i = 0; !r && i < m->n_grants; i++)
                r = grants(a, m, m->grants[i]);
        for (size_t i = 0; !r && i < m->n_flows; i++)
                r = flow(a, m, m->flows[i]);
        a->more = result->more && m->n_flows && m->flows[m->n_flows - 1]->at > a->after;
        a->after = a->more ? m->flows[m->n_flows - 1]->at : a->after;
        return r;
}

static int ask_page(svmd_session *s, struct asking *a) {
        Svmd__V1__Metrics body = SVMD__V1__METRICS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.after = a->after;
        op.op_case = SVMD__V1__OP__OP_METRICS;
        op.metrics = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        r = take(a, result);
        call_put(s, c);
        return r;
}

int svmd_query_metrics(svmd_session *s, svmd_metric_fn fn, void *userdata) {
        struct asking a = { .fn = fn, .userdata = userdata, .more = true };
        int r = session_check(s);

        if (r)
                return r;
        while (!r && a.more)
                r = ask_page(s, &a);
        return session_leave(s, r);
}
