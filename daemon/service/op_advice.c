#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/advice.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/order.h"
#include "service/verdicts.h"

/*
 * What programs say about the use of a range, for all nodes at once: hints, which lie side by side with those of other
 * sessions (advice.h). Nothing moves because of them: policy hears what counts when it next decides.
 */
static int check_location(struct call *c, uint32_t location) {
        uint32_t nodes = c->svc->managed.nodes_count;

        if (location <= nodes)
                return 0;
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %u that managed pages can prefer; nodes are 0 to %u",
                      location - 1, nodes - 1);
}

static int check_fallback(struct call *c, const Svmd__V1__Advise *op) {
        int r = 0;

        if (op->n_fallback > POLICY_FALLBACKS)
                return refuse(c, SVMD_STATUS_INVALID, "%zu fallbacks are given; there can be %u", op->n_fallback,
                              POLICY_FALLBACKS);
        for (size_t i = 0; i < op->n_fallback && r == 0; i++) {
                if (op->fallback[i] == 0)
                        return refuse(c, SVMD_STATUS_INVALID, "a fallback is a node + 1; 0 is none");
                r = check_location(c, op->fallback[i]);
        }
        return r;
}

static int check_accessed_by(struct call *c, uint64_t accessed_by) {
        uint32_t nodes = c->svc->managed.nodes_count;
        uint64_t unknown = nodes < 64 ? accessed_by >> nodes << nodes : 0;

        if (!unknown)
                return 0;
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %d to access it; nodes are 0 to %u",
                      __builtin_ctzll(unknown), nodes - 1);
}

static int check_granularity(struct call *c, uint32_t bytes) {
        if (bytes == 0 || (bytes >= SVMD_PAGE && bytes <= 2u << 20 && (bytes & (bytes - 1)) == 0))
                return 0;
        return refuse(c, SVMD_STATUS_INVALID,
                      "a granularity is a power of two from 4 KiB to 2 MiB, or 0 for policy's choice; not %u bytes",
                      bytes);
}

static int check_atomics(struct call *c, unsigned atomics) {
        if (atomics <= SVMD__V1__ATOMICS__ATOMICS_CPU)
                return 0;
        return refuse(c, SVMD_STATUS_INVALID, "atomics are 0 (any), 1 (device), 2 (global) or 3 (CPU), not %u",
                      atomics);
}

static int check_advice(struct call *c, const Svmd__V1__Advise *op) {
        int r = 0;

        if (op->what == 0 || op->what > ADVICE_ALL || op->against & ~op->what)
                return refuse(c, SVMD_STATUS_INVALID,
                              "0x%x, and against 0x%x, do not name what is advised: bits of AdviceWhat, 1 to %u",
                              op->what, op->against, ADVICE_ALL);
        if (op->what & ADVICE(PREFERRED))
                r = check_location(c, op->preferred);
        if (r == 0 && op->what & ADVICE(ACCESSED_BY))
                r = check_accessed_by(c, op->accessed_by);
        if (r == 0 && op->what & ADVICE(GRANULARITY))
                r = check_granularity(c, op->granularity);
        if (r == 0 && op->what & ADVICE(FALLBACK))
                r = check_fallback(c, op);
        if (r == 0 && op->what & ADVICE(ATOMICS))
                r = check_atomics(c, op->atomics);
        return r;
}

static void words_of(const Svmd__V1__Advise *op, uint32_t first, uint32_t count, struct hint_words *ret) {
        *ret = (struct hint_words){
                .first = first,
                .count = count,
                .what = op->what,
                .against = op->against,
                .said_ns = clock_ns(CLOCK_REALTIME),
                .advice = { .preferred = op->preferred,
                            .accessed_by = op->accessed_by,
                            .read_mostly = op->read_mostly,
                            .pinned = op->pinned,
                            .granularity = op->granularity,
                            .atomics = (uint8_t)op->atomics,
                            .coarse = op->coarse,
                            .group = op->group },
        };
        for (size_t i = 0; i < op->n_fallback && i < POLICY_FALLBACKS; i++)
                ret->advice.fallback[i] = op->fallback[i];
}

/* ---- what becomes of it ---- */

/* Runs that are looked at for words that others overrule. */
#define LOOKED_AT 16384

/* Members that were not set may hold anything. */
static struct policy_advice said(const struct hint_words *w) {
        struct policy_advice a = { 0 };

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                if (w->what >> k & 1)
                        policy_copy(&a, &w->advice, k);
        return a;
}

static bool counts(const struct policy_advice *all, const struct policy_advice *a, enum policy_attribute k) {
        if (k == POLICY_ACCESSED_BY)
                return !(a->accessed_by & ~all->accessed_by);
        return policy_is_zero(a, k) || policy_same(all, a, k);
}

/* Bits of what was said and does not count in some granule. */
static uint32_t overruled(const struct managed_reservation *m, const struct hint_words *w) {
        uint32_t end = w->first + w->count, next, count, bits = 0;
        struct policy_advice a = said(w);

        for (uint32_t at = w->first, looked = 0; at < end && looked < LOOKED_AT; at = next, looked++) {
                const struct policy_voice *voices = hints_at(m->hints, at, end, &count, &next);
                struct policy_ruling ruling;

                policy_arbitrate(voices, count, &ruling);
                for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                        bits |= counts(&ruling.advice, &a, k) ? 0 : 1u << k;
        }
        return bits;
}

/* Nothing is said yet: it cannot be taken back for want of memory. */
static int judge(struct call *c, const struct managed_reservation *m, const struct hint_words *w) {
        Svmd__V1__AdviseResult *result = call_take(c, sizeof(*result));
        struct policy_advice a = said(w);

        if (c->request->ops > 1)
                return refuse(c, SVMD_STATUS_SHAPE, "advice whose verdicts are asked for must be alone in its request");
        if (!result)
                return -ENOMEM;
        svmd__v1__advise_result__init(result);
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ADVISE;
        c->result->advise = result;
        return verdicts_of(c, m, &a, &result->verdicts, &result->n_verdicts);
}

static int advise_shared(struct call *c) {
        const Svmd__V1__Advise *op = c->op->advise;
        struct managed_reservation *m;
        uint32_t first, count;
        struct hint_words w;
        struct effect_advice e;
        int r = order_at(c, op->partition, op->address, op->size, RIGHT_READ, &m, &first, &count);

        if (r == 0)
                r = check_advice(c, op);
        if (r != 0)
                return r;
        words_of(op, first, count, &w);
        r = op->verdicts ? judge(c, m, &w) : 0;
        if (r == 0)
                r = advice_say(c->svc, m, c->session, &w, &e);
        if (r != 0)
                return r;
        if (op->verdicts)
                c->result->advise->overruled = overruled(m, &w);
        tx_effect(c->tx, EFFECT_ADVICE, &e, sizeof(e));
        return 0;
}

int op_advise(struct call *c) {
        int r = private_advise(c);

        return r == PRIVATE_OTHER ? advise_shared(c) : r;
}

/* ---- what counts at one granule ---- */

int advice_fill(struct call *c, const struct policy_advice *a, Svmd__V1__AdviceResult *row) {
        row->preferred = a->preferred;
        row->accessed_by = a->accessed_by;
        row->read_mostly = a->read_mostly;
        row->pinned = a->pinned;
        row->granularity = a->granularity;
        row->atomics = a->atomics;
        row->coarse = a->coarse;
        row->group = a->group;
        row->fallback = call_take(c, POLICY_FALLBACKS * sizeof(row->fallback[0]));
        if (!row->fallback)
                return -ENOMEM;
        for (unsigned i = 0; i < POLICY_FALLBACKS && a->fallback[i]; i++)
                row->fallback[row->n_fallback++] = a->fallback[i];
        return 0;
}

Svmd__V1__AdviceResult *advice_row(struct call *c, const struct managed_reservation *m, uint32_t granule) {
        Svmd__V1__AdviceResult *row = call_take(c, sizeof(*row));
        struct mover_advice a;

        if (!row)
                return NULL;
        svmd__v1__advice_result__init(row);
        mover_advice(c->svc->mover, m->range, granule, &a);
        row->session = a.session;
        return advice_fill(c, &a.policy, row) == 0 ? row : NULL;
}

static int query_shared(struct call *c) {
        struct managed_reservation *m;
        uint32_t granule;
        int r = order_around(c, "", c->op->advice_query->address, RIGHT_READ, &m, &granule);

        if (r != 0)
                return r;
        c->result->advice = advice_row(c, m, granule);
        if (!c->result->advice)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ADVICE;
        return 0;
}

int op_advice_query(struct call *c) {
        int r = private_advice_query(c);

        return r == PRIVATE_OTHER ? query_shared(c) : r;
}
