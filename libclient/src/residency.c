#include <stdlib.h>

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

/* Rows, and pointers to them, of an explanation; one allocation. */
struct explained {
        const struct svmd_past_row **history, **not_done;
        const struct svmd_touch_row **touches;
        struct svmd_past_row *pasts;
        struct svmd_touch_row *rows;
        const struct svmd_hint_row **hints;
        struct svmd_hint_row *hint;
        struct svmd_advice *said;
};

static void *explained_new(const Svmd__V1__ExplainResult *from, struct explained *x) {
        size_t pasts = from->n_history + from->n_not_done, touches = from->n_touches, hints = from->n_hints;
        char *memory =
                calloc(1, pasts * (sizeof(*x->pasts) + sizeof(void *)) + touches * (sizeof(*x->rows) + sizeof(void *)) +
                                  hints * (sizeof(*x->hint) + sizeof(*x->said) + sizeof(void *)) + 1);

        x->pasts = (struct svmd_past_row *)memory;
        x->rows = (struct svmd_touch_row *)(x->pasts + pasts);
        x->hint = (struct svmd_hint_row *)(x->rows + touches);
        x->said = (struct svmd_advice *)(x->hint + hints);
        x->history = (const struct svmd_past_row **)(x->said + hints);
        x->not_done = x->history + from->n_history;
        x->touches = (const struct svmd_touch_row **)(x->not_done + from->n_not_done);
        x->hints = (const struct svmd_hint_row **)(x->touches + touches);
        return memory;
}

static void explained_rows(const Svmd__V1__ExplainResult *from, struct explained *x, struct svmd_explanation *e) {
        struct svmd_past_row *past = x->pasts;

        for (size_t i = 0; i < from->n_history; i++, past++) {
                row_past(past, from->history[i]);
                x->history[i] = past;
        }
        for (size_t i = 0; i < from->n_not_done; i++, past++) {
                row_past(past, from->not_done[i]);
                x->not_done[i] = past;
        }
        for (size_t i = 0; i < from->n_touches; i++) {
                row_touch(&x->rows[i], from->touches[i]);
                x->touches[i] = &x->rows[i];
        }
        for (size_t i = 0; i < from->n_hints; i++) {
                row_hint(&x->hint[i], &x->said[i], from->hints[i]);
                x->hints[i] = &x->hint[i];
        }
        e->history = x->history;
        e->not_done = x->not_done;
        e->touches = x->touches;
        e->history_count = from->n_history;
        e->not_done_count = from->n_not_done;
        e->touches_count = from->n_touches;
        e->hints = x->hints;
        e->hints_count = from->n_hints;
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
        struct explained rows;
        void *memory = explained_new(from, &rows);
        int r;

        if (!memory)
                return fail(SVMD_E_NO_MEMORY, "out of memory");
        explained_rows(from, &rows, &e);
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
        r = fn(&e, userdata);
        free(memory);
        return r;
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
