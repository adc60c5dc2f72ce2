#include "error.h"
#include "query.h"
#include "row.h"
#include "wire.h"

/* Where the pages of managed ranges are, and why. */

static int residency_row(struct walk *w, const void *data) {
        const Svmd__V1__Run *from = data;
        Svmd__V1__Residency *next = w->op.residency;
        uint64_t end = from->address + from->size;
        struct svmd_residency_row row;

        row_residency(&row, from);
        if (next->size && next->size <= end - next->address)
                w->over = true; /* size 0 would ask for the rest */
        else if (next->size)
                next->size -= end - next->address;
        next->address = end;
        return w->fn.residency(&row, w->userdata);
}

int svmd_query_residency(svmd_session *s, const char *partition, uint64_t address, size_t size, int counters,
                         svmd_residency_fn fn, void *userdata) {
        Svmd__V1__Residency body = SVMD__V1__RESIDENCY__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        body.address = address;
        body.size = size;
        body.counters = counters != 0;
        walk_begin(&w, SVMD__V1__OP__OP_RESIDENCY, &body, residency_row, userdata);
        w.fn.residency = fn;
        return walk_run(s, &w);
}

static int explained(const Svmd__V1__ExplainResult *from, svmd_explain_fn fn, void *userdata) {
        struct svmd_reservation_row reservation;
        struct svmd_residency_row granule;
        struct svmd_advice advice = { .size = sizeof(advice) };
        struct svmd_explanation e = {
                .size = sizeof(e),
                .sentences = (const char *const *)from->sentences,
                .sentences_count = from->n_sentences,
                .moves = from->moves,
                .moved_ms = from->moved_ms,
                .touched_ms = from->touched_ms,
        };

        if (from->reservation) {
                row_reservation(&reservation, from->reservation);
                e.reservation = &reservation;
        }
        if (from->run) {
                row_residency(&granule, from->run);
                e.granule = &granule;
        }
        if (from->advice) {
                row_advice(&advice, from->advice);
                e.advice = &advice;
        }
        return fn(&e, userdata);
}

int svmd_explain(svmd_session *s, const char *partition, uint64_t address, svmd_explain_fn fn, void *userdata) {
        Svmd__V1__Explain body = SVMD__V1__EXPLAIN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        if (partition)
                body.partition = (char *)partition;
        body.address = address;
        op.op_case = SVMD__V1__OP__OP_EXPLAIN;
        op.explain = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_EXPLAIN)
                r = explained(result->explain, fn, userdata);
        else
                r = fail(SVMD_E_MALFORMED, "svmd answered a question about an address with something else");
        call_put(s, c);
        return session_leave(s, r);
}
