#include <errno.h>
#include <inttypes.h>

#include "core/reservation.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/order.h"

/*
 * Where granules are, in runs that are alike. A result looks at a bounded number of granules, so a row may end where
 * the next result's first one goes on.
 */
#define LOOKED_AT 16384 /* granules a result */
#define BATCH     256

void run_fill(const struct managed_reservation *m, uint32_t granule, const struct managed_granule_info *info,
              Svmd__V1__Run *row) {
        svmd__v1__run__init(row);
        row->address = m->reservation->va.start + (uint64_t)granule * m->granule;
        row->size = m->granule;
        row->state = info->state;
        row->node = info->node;
        row->cause = info->cause;
        row->pins = info->pins;
        row->copies = info->copies;
        row->busy = info->busy;
        row->outs = info->outs;
        row->ins = info->ins;
}

static bool alike(const Svmd__V1__Run *row, const struct managed_granule_info *info) {
        return row->state == info->state && row->node == info->node && row->cause == info->cause &&
               row->pins == info->pins && row->copies == info->copies && row->busy == info->busy;
}

struct walk {
        struct call *call;
        const struct managed_reservation *m;
        bool counters;
        Svmd__V1__ResidencyResult *result;
        Svmd__V1__Run *last;
};

/* False: the result has no room for it. */
static int put(struct walk *w, uint32_t granule, const struct managed_granule_info *info) {
        if (w->last && !w->counters && alike(w->last, info)) {
                w->last->size += w->m->granule;
                return 0;
        }
        if (w->result->n_runs == SVMD_ROWS_MAX)
                return -ENOSPC;
        w->last = call_take(w->call, sizeof(*w->last));
        if (!w->last)
                return -ENOMEM;
        run_fill(w->m, granule, info, w->last);
        if (!w->counters)
                w->last->outs = w->last->ins = 0;
        w->result->runs[w->result->n_runs++] = w->last;
        return 0;
}

/* Until `end`, or what a result looks at. */
static int walk(struct walk *w, uint32_t first, uint32_t end) {
        struct managed_granule_info info[BATCH];
        uint32_t at = first, stop = end - first > LOOKED_AT ? first + LOOKED_AT : end;

        while (at < stop) {
                uint32_t count = stop - at < BATCH ? stop - at : BATCH;

                mover_look(w->call->svc->mover, w->m->range, at, count, info);
                for (uint32_t i = 0; i < count; i++) {
                        int r = put(w, at + i, &info[i]);

                        if (r < 0)
                                w->call->result->more = r == -ENOSPC;
                        if (r < 0)
                                return r == -ENOSPC ? 0 : r;
                }
                at += count;
        }
        w->call->result->more = at < end;
        return 0;
}

static int residency_shared(struct call *c) {
        const Svmd__V1__Residency *op = c->op->residency;
        struct walk w = { .call = c, .counters = op->counters };
        struct managed_reservation *m;
        uint32_t first, end;
        int r = order_touched(c, op->partition, op->address, op->size, 0, &m, &first, &end);

        if (r != 0)
                return r;
        w.m = m;
        w.result = call_take(c, sizeof(*w.result));
        if (!w.result)
                return -ENOMEM;
        svmd__v1__residency_result__init(w.result);
        w.result->runs = call_take(c, SVMD_ROWS_MAX * sizeof(*w.result->runs));
        if (!w.result->runs)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_RESIDENCY;
        c->result->residency = w.result;
        return walk(&w, first, end);
}

int op_residency(struct call *c) {
        int r = private_residency(c);

        return r == PRIVATE_OTHER ? residency_shared(c) : r;
}
