#include <errno.h>

#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/advice.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/order.h"
#include "service/verdicts.h"

/*
 * What counts in a range, run by run: an attribute that is not the same in all of it is mixed. Beside that each hint
 * that is heard there, with what became of its wishes, and what each node makes of what counts everywhere.
 *
 * A result looks at a bounded number of runs and hints; the next one goes on behind them.
 */
#define LOOKED_AT 16384 /* runs a result */

struct show {
        struct call *call;
        const struct managed_reservation *m;
        Svmd__V1__AdviceShowResult *result;
        struct policy_advice advice;
        uint32_t looked;
        bool any;
};

/* ---- hints ---- */

Svmd__V1__AdviceHint *hint_row(struct call *c, const struct managed_reservation *m, const struct hint *hint) {
        const struct hint_party *party = hint_party(hint);
        Svmd__V1__AdviceHint *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__advice_hint__init(row);
        row->session = party->session;
        row->pid = party->pid;
        row->uid = party->uid;
        row->client = call_string(c, party->client);
        row->rank = (Svmd__V1__AdviceRank)party->policy.rank;
        row->said_ns = hint->said_ns;
        row->address = m->reservation->va.start + (uint64_t)hint->first * m->granule;
        row->size = (uint64_t)hint->count * m->granule;
        row->what = hint->what;
        row->against = hint->against;
        row->advice = call_take(c, sizeof(*row->advice));
        if (!row->advice)
                return NULL;
        svmd__v1__advice_result__init(row->advice);
        row->advice->session = party->session;
        return advice_fill(c, &hint->policy.advice, row->advice) == 0 ? row : NULL;
}

void hint_row_fate(Svmd__V1__AdviceHint *row, unsigned fate, uint32_t bit) {
        switch ((enum policy_fate)fate) {
        case POLICY_SILENT: break;
        case POLICY_WON: row->wins |= bit; break;
        case POLICY_AGREES: row->agrees |= bit; break;
        case POLICY_OUTRANKED: row->outranked |= bit; break;
        case POLICY_OVERTAKEN: row->overtaken |= bit; break;
        case POLICY_MOOT: row->moot |= bit; break;
        }
}

/* The hints' rows are numbered, from 1 on, in the hints. Where more speak of one granule than there can be rows, those
 * that count come first. */
static int add_voice(struct show *s, const struct policy_voice *voices, const struct policy_ruling *ruling,
                     uint32_t i) {
        uint32_t *number = hint_number(&voices[i]);
        Svmd__V1__AdviceHint *row;

        if (!voices[i].says || (*number == 0 && s->result->n_hints == SVMD_ROWS_MAX))
                return 0;
        if (*number == 0) {
                row = hint_row(s->call, s->m, hint_of(&voices[i]));
                if (!row)
                        return -ENOMEM;
                s->result->hints[s->result->n_hints++] = row;
                *number = (uint32_t)s->result->n_hints;
        }
        row = s->result->hints[*number - 1];
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                hint_row_fate(row, policy_fate(voices, ruling, i, a), 1u << a);
        return 0;
}

static int unnumber(void *userdata, const struct policy_voice *voice) {
        *hint_number(voice) = 0;
        return 0;
}

/* ---- runs ---- */

static void add_advice(struct show *s, const struct policy_advice *a) {
        static const struct policy_advice none;

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++) {
                if (!s->any)
                        policy_copy(&s->advice, a, k);
                else if (!policy_same(&s->advice, a, k))
                        s->result->mixed |= 1u << k;
                if (s->result->mixed >> k & 1)
                        policy_copy(&s->advice, &none, k);
        }
        s->any = true;
}

/* Room for the rows of all that may be new. */
static bool has_room(const struct show *s, uint32_t voices) {
        return s->looked < LOOKED_AT && s->result->n_hints + voices <= SVMD_ROWS_MAX;
}

static int walk(struct show *s, uint32_t first, uint32_t end, uint32_t *ret_at) {
        uint32_t at = first, count, next;
        int r = 0;

        for (; at < end && r == 0; at = next, s->looked++) {
                const struct policy_voice *voices = hints_at(s->m->hints, at, end, &count, &next);
                struct policy_ruling ruling;

                if (at > first && !has_room(s, count))
                        break;
                policy_arbitrate(voices, count, &ruling);
                add_advice(s, &ruling.advice);
                for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N && r == 0; a++)
                        if (ruling.winner[a] != POLICY_NOBODY)
                                r = add_voice(s, voices, &ruling, ruling.winner[a]);
                for (uint32_t i = 0; i < count && r == 0; i++)
                        r = add_voice(s, voices, &ruling, i);
        }
        hints_each_voice(s->m->hints, first, at, unnumber, NULL);
        *ret_at = at;
        return r;
}

/* ---- the operation ---- */

int op_advice_show(struct call *c) {
        struct show s = { .call = c, .result = call_take(c, sizeof(*s.result)) };
        const Svmd__V1__AdviceShow *op = c->op->advice_show;
        struct managed_reservation *m;
        uint32_t first, end, at;
        int r = order_touched(c, op->partition, op->address, op->size, RIGHT_READ, &m, &first, &end);

        if (r != 0)
                return r;
        if (!s.result)
                return -ENOMEM;
        svmd__v1__advice_show_result__init(s.result);
        s.m = m;
        s.result->hints = call_take(c, SVMD_ROWS_MAX * sizeof(*s.result->hints));
        s.result->advice = call_take(c, sizeof(*s.result->advice));
        if (!s.result->hints || !s.result->advice)
                return -ENOMEM;
        svmd__v1__advice_result__init(s.result->advice);
        r = walk(&s, first, end, &at);
        if (r == 0)
                r = advice_fill(c, &s.advice, s.result->advice);
        if (r == 0)
                r = verdicts_of(c, m, &s.advice, &s.result->verdicts, &s.result->n_verdicts);
        if (r != 0)
                return r;
        s.result->address = m->reservation->va.start + (uint64_t)first * m->granule;
        s.result->size = (uint64_t)(at - first) * m->granule;
        c->result->more = at < end;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ADVICE_SHOW;
        c->result->advice_show = s.result;
        return 0;
}
