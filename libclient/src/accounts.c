#include "query.h"

#include <string.h>

#include "error.h"
#include "options.h"

/* Who holds what, who held what when, and what others say of it. */

/* ---- now ---- */

static int give_holder(struct walk *w, const Svmd__V1__UsageRow *u, const Svmd__V1__NodeUse *n) {
        const struct svmd_holder_row row = {
                .partition = u->partition,
                .client = u->client,
                .session = u->session,
                .pid = u->pid,
                .uid = u->uid,
                .process = u->process,
                .cgroup = u->cgroup,
                .runtime = u->runtime,
                .container = u->container,
                .pod = u->pod,
                .node = n ? n->node : UINT32_MAX,
                .used = n ? n->used : 0,
                .peak = n ? n->peak : 0,
                .managed = n ? n->managed : 0,
                .leased = n ? n->leased : 0,
                .registered = u->registered,
                .container_name = u->container_name,
                .pod_name = u->pod_name,
                .pod_namespace = u->pod_namespace,
        };

        return w->fn.holder(&row, w->userdata);
}

static int holder_row(struct walk *w, const void *data) {
        const Svmd__V1__UsageRow *u = data;
        int r = 0;

        w->op.holders->after = u->session ? u->session : UINT64_MAX;
        if (!u->session) {
                strncpy(w->name, u->partition, sizeof(w->name) - 1);
                w->op.holders->after_partition = w->name;
        }
        if (u->n_nodes == 0)
                return give_holder(w, u, NULL);
        for (size_t i = 0; !r && i < u->n_nodes; i++)
                r = give_holder(w, u, u->nodes[i]);
        return r;
}

int svmd_query_holders(svmd_session *s, const char *partition, svmd_holder_fn fn, void *userdata) {
        Svmd__V1__Holders body = SVMD__V1__HOLDERS__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_HOLDERS, &body, holder_row, userdata);
        w.fn.holder = fn;
        return walk_run(s, &w);
}

/* ---- the history ---- */

/* A day of a million times 16 TiB would not fit into the product. */
static uint64_t average(uint64_t page_ms, uint64_t watched_ms) {
        return watched_ms ? (uint64_t)((unsigned __int128)page_ms * 4096 / watched_ms) : 0;
}

struct history {
        struct svmd_history_span span;
        void *userdata;
};

static void take_span(const Svmd__V1__Result *r, struct svmd_history_span *ret) {
        if (r->detail_case != SVMD__V1__RESULT__DETAIL_USAGE_HISTORY)
                return;
        ret->since = r->usage_history->since;
        ret->until = r->usage_history->until;
        ret->step = r->usage_history->step;
        ret->watched_ms = r->usage_history->watched_ms;
}

static int history_row(struct walk *w, const void *data) {
        const Svmd__V1__HistoryRow *h = data;
        struct history *all = w->userdata;
        const struct svmd_history_row row = {
                .key = h->key,
                .node = h->node,
                .page_ms = h->page_ms,
                .average = average(h->page_ms, w->result->usage_history->watched_ms),
                .peak = h->peak,
        };

        take_span(w->result, &all->span);
        w->op.usage_history->from++;
        return w->fn.history(&row, all->userdata);
}

int svmd_query_history(svmd_session *s, const struct svmd_history_options *o, struct svmd_history_span *ret,
                       svmd_history_fn fn, void *userdata) {
        Svmd__V1__UsageHistory body = SVMD__V1__USAGE_HISTORY__INIT;
        struct svmd_history_options own = { 0 };
        struct history all = { .userdata = userdata };
        struct walk w;
        int r = options_take(&own, sizeof(own), o, "svmd_history_options");

        if (r)
                return r;
        body.by = (Svmd__V1__UsageBy)own.by;
        body.since = own.since;
        body.until = own.until;
        if (own.node)
                body.node = (char *)own.node;
        walk_begin(&w, SVMD__V1__OP__OP_USAGE_HISTORY, &body, history_row, &all);
        w.fn.history = fn;
        r = walk_run(s, &w);
        return r || !ret ? r : options_give(ret, &all.span, sizeof(all.span), "svmd_history_span");
}

/* ---- drift ---- */

static struct svmd_driver_counts counts_of(const Svmd__V1__DriverCounts *c) {
        if (!c)
                return (struct svmd_driver_counts){ .has = 0 };
        return (struct svmd_driver_counts){ c->has, c->faults, c->pages_in, c->pages_out, c->evicted_ms };
}

static int drift_row(struct walk *w, const void *data) {
        const Svmd__V1__DriftRow *d = data;
        const struct svmd_drift_row row = {
                .scope = d->scope,
                .source = d->source,
                .subject = d->subject,
                .place = d->place,
                .session = d->session,
                .pid = d->pid,
                .reported = d->reported,
                .ledger = d->ledger,
                .why = d->why,
                .unbrokered = d->unbrokered,
                .moving = w->result->drift->moving,
                .limit = d->limit ? d->limit : UINT64_MAX,
                .killed = d->killed,
                .container = d->container,
                .counts = counts_of(d->counts),
        };

        w->op.drift->from++;
        return w->fn.drift(&row, w->userdata);
}

int svmd_query_drift(svmd_session *s, svmd_drift_fn fn, void *userdata) {
        Svmd__V1__Drift body = SVMD__V1__DRIFT__INIT;
        struct walk w;

        walk_begin(&w, SVMD__V1__OP__OP_DRIFT, &body, drift_row, userdata);
        w.fn.drift = fn;
        return walk_run(s, &w);
}
