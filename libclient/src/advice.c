#include <stdlib.h>

#include "agent/cuda.h"
#include "agent/kfd.h"
#include "error.h"
#include "options.h"
#include "proto/limits.h"
#include "row.h"
#include "wire.h"

/* Advice about managed ranges: given, and what has become of it. */

enum { FALLBACKS = 3 };

struct message {
        Svmd__V1__Advise body;
        Svmd__V1__Op op;
        uint32_t fallback[FALLBACKS];
};

static void message_fill(struct message *m, const struct svmd_advice *a, uint64_t address, uint64_t size) {
        svmd__v1__advise__init(&m->body);
        svmd__v1__op__init(&m->op);
        m->body.address = address;
        m->body.size = size;
        m->body.what = a->what;
        m->body.preferred = a->preferred + 1; /* SVMD_NODE_NONE becomes 0 */
        m->body.accessed_by = a->accessed_by;
        m->body.read_mostly = a->read_mostly != 0;
        m->body.pinned = a->pinned != 0;
        m->body.granularity = a->granularity;
        m->body.against = a->against;
        m->body.atomics = (Svmd__V1__Atomics)a->atomics;
        m->body.coarse = a->coarse != 0;
        m->body.group = a->group;
        m->body.fallback = m->fallback;
        for (unsigned i = 0; i < a->fallbacks && i < FALLBACKS; i++)
                m->fallback[m->body.n_fallback++] = a->fallback[i] + 1;
        m->op.op_case = SVMD__V1__OP__OP_ADVISE;
        m->op.advise = &m->body;
}

static int advice_take(svmd_session *s, const struct svmd_advice *given, struct svmd_advice *ret) {
        int r = session_check(s);

        if (!r && !given)
                r = fail(SVMD_E_INVALID, "no advice was given");
        if (!r)
                r = options_take(ret, sizeof(*ret), given, "svmd_advice");
        if (!r && ret->fallbacks > FALLBACKS)
                r = fail(SVMD_E_INVALID, "%u fallbacks were given; there can be %d", ret->fallbacks, FALLBACKS);
        return r;
}

int svmd_partition_advise(svmd_session *s, const char *partition, uint64_t address, size_t size,
                          const struct svmd_advice *given) {
        struct svmd_advice advice;
        struct message m;
        int r = advice_take(s, given, &advice);

        if (r)
                return r;
        if (!partition && kfd_advises(s, address, &advice))
                return kfd_advise(s, address, size, &advice);
        message_fill(&m, &advice, address, size);
        if (partition)
                m.body.partition = (char *)partition;
        return session_leave(s, call_simple(s, &m.op, SVMD__V1__MODE__BEST_EFFORT));
}

static const char *became_name(Svmd__V1__AdviceBecame became) {
        switch ((int)became) {
        case SVMD__V1__ADVICE_BECAME__BECAME_APPLIED: return "applied";
        case SVMD__V1__ADVICE_BECAME__BECAME_APPROXIMATED: return "approximated";
        case SVMD__V1__ADVICE_BECAME__BECAME_REFUSED: return "refused";
        default: return "unknown";
        }
}

static struct svmd_verdict_row verdict_row(const Svmd__V1__AdviceVerdict *from) {
        return (struct svmd_verdict_row){
                .node = from->node, .what = from->what, .became = became_name(from->became), .why = from->why
        };
}

/* An older svmd judges nothing. */
static int judged(const Svmd__V1__Result *result, svmd_verdict_fn fn, void *userdata, unsigned *ret_overruled) {
        const Svmd__V1__AdviseResult *m =
                result->detail_case == SVMD__V1__RESULT__DETAIL_ADVISE ? result->advise : NULL;
        int r = 0;

        if (ret_overruled)
                *ret_overruled = m ? m->overruled : 0;
        for (size_t i = 0; m && !r && i < m->n_verdicts; i++) {
                const struct svmd_verdict_row row = verdict_row(m->verdicts[i]);

                r = fn(&row, userdata);
        }
        return r;
}

int svmd_advise_judged(svmd_session *s, const char *partition, uint64_t address, size_t size,
                       const struct svmd_advice *given, svmd_verdict_fn fn, void *userdata, unsigned *ret_overruled) {
        const Svmd__V1__Result *result;
        struct svmd_advice advice;
        struct message m;
        struct call *c;
        int r = advice_take(s, given, &advice);

        if (r)
                return r;
        message_fill(&m, &advice, address, size);
        m.body.verdicts = true;
        if (partition)
                m.body.partition = (char *)partition;
        r = call_one(s, &m.op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        r = judged(result, fn, userdata, ret_overruled);
        call_put(s, c);
        return session_leave(s, r);
}

int svmd_advise(svmd_session *s, const void *address, size_t size, const struct svmd_advice *given) {
        struct svmd_advice advice;
        int r = s && cuda_manages(s, address) ? advice_take(s, given, &advice) : -1;

        if (r >= 0)
                return session_leave(s, r ? r : cuda_advise(s, address, size, &advice));
        return svmd_partition_advise(s, NULL, (uintptr_t)address, size, given);
}

static int advise_all(svmd_session *s, struct message *m, Svmd__V1__Op **ops, size_t count) {
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c;
        int r;

        for (size_t i = 0; i < count; i++)
                ops[i] = &m[i].op;
        request.mode = SVMD__V1__MODE__BEST_EFFORT;
        request.ops = ops;
        request.n_ops = count;
        r = call_run(s, &request, NULL, 0, NULL, &c);
        if (r)
                return r;
        for (size_t i = 0; i < count && !r; i++)
                r = fail_result(call_result(c, i));
        call_put(s, c);
        return r;
}

int svmd_advise_ranges(svmd_session *s, const struct svmd_range *ranges, size_t count,
                       const struct svmd_advice *given) {
        struct svmd_advice advice;
        Svmd__V1__Op **ops;
        struct message *m;
        int r;

        if (!ranges || !count || count > SVMD_OPS_MAX)
                return fail(SVMD_E_SIZE, "%zu ranges were given; give 1 to %u", ranges ? count : 0, SVMD_OPS_MAX);
        r = advice_take(s, given, &advice);
        if (r)
                return r;
        m = calloc(count, sizeof(*m));
        ops = calloc(count, sizeof(*ops));
        for (size_t i = 0; m && i < count; i++)
                message_fill(&m[i], &advice, (uintptr_t)ranges[i].address, ranges[i].length);
        r = m && ops ? advise_all(s, m, ops, count) : fail_memory();
        free(ops);
        free(m);
        return session_leave(s, r);
}

int svmd_advice_query(svmd_session *s, const void *address, struct svmd_advice *ret) {
        Svmd__V1__AdviceQuery body = SVMD__V1__ADVICE_QUERY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_advice advice = { 0 };
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        body.address = (uintptr_t)address;
        op.op_case = SVMD__V1__OP__OP_ADVICE_QUERY;
        op.advice_query = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_ADVICE)
                row_advice(&advice, result->advice);
        else
                r = fail(SVMD_E_NO_SUCH, "no managed reservation contains %p", address);
        call_put(s, c);
        if (!r)
                r = options_give(ret, &advice, sizeof(advice), "svmd_advice");
        return session_leave(s, r);
}

/* ---- whose words count ---- */

/* Rows of a report, in one allocation. */
struct report {
        struct svmd_hint_row *hints;
        struct svmd_verdict_row *verdicts;
        struct svmd_advice *said; /* of each hint */
};

static int report_new(struct report *x, const Svmd__V1__AdviceShowResult *from) {
        x->hints = calloc(1, from->n_hints * (sizeof(*x->hints) + sizeof(*x->said)) +
                                     from->n_verdicts * sizeof(*x->verdicts) + 1);
        if (!x->hints)
                return fail_memory();
        x->said = (struct svmd_advice *)(x->hints + from->n_hints);
        x->verdicts = (struct svmd_verdict_row *)(x->said + from->n_hints);
        for (size_t i = 0; i < from->n_hints; i++)
                row_hint(&x->hints[i], &x->said[i], from->hints[i]);
        for (size_t i = 0; i < from->n_verdicts; i++)
                x->verdicts[i] = verdict_row(from->verdicts[i]);
        return 0;
}

static int report_tell(const Svmd__V1__AdviceShowResult *from, svmd_advice_fn fn, void *userdata) {
        struct svmd_advice advice = { .size = sizeof(advice), .preferred = SVMD_NODE_NONE };
        struct svmd_advice_report e = { .size = sizeof(e), .advice = &advice };
        struct report x = { 0 };
        int r = report_new(&x, from);

        if (r)
                return r;
        if (from->advice)
                row_advice(&advice, from->advice);
        e.address = from->address;
        e.length = from->size;
        e.mixed = from->mixed;
        e.hints = x.hints;
        e.hints_count = from->n_hints;
        e.verdicts = x.verdicts;
        e.verdicts_count = from->n_verdicts;
        r = fn(&e, userdata);
        free(x.hints);
        return r;
}

/* One page; *ret_next: where the next one begins, or 0. */
static int ask(svmd_session *s, Svmd__V1__AdviceShow *body, svmd_advice_fn fn, void *userdata, uint64_t *ret_next) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        *ret_next = 0;
        op.op_case = SVMD__V1__OP__OP_ADVICE_SHOW;
        op.advice_show = body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_ADVICE_SHOW) {
                if (result->more && result->advice_show->size)
                        *ret_next = result->advice_show->address + result->advice_show->size;
                r = report_tell(result->advice_show, fn, userdata);
        } else {
                r = fail(SVMD_E_NO_SUCH, "no managed reservation contains 0x%llx", (unsigned long long)body->address);
        }
        call_put(s, c);
        return r;
}

int svmd_query_advice(svmd_session *s, const char *partition, uint64_t address, size_t size, svmd_advice_fn fn,
                      void *userdata) {
        Svmd__V1__AdviceShow body = SVMD__V1__ADVICE_SHOW__INIT;
        uint64_t end = size ? address + size : 0, next = address;
        int r = session_check(s);

        if (r)
                return r;
        if (partition)
                body.partition = (char *)partition;
        while (!r && next && (!end || next < end)) {
                body.address = next;
                body.size = end ? end - next : 0;
                r = ask(s, &body, fn, userdata, &next);
        }
        return session_leave(s, r);
}
