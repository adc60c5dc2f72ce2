/* What wishes become on each kind of node: every row of the table, and what holds for all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "advice_rows.h"

static void compile(enum policy_dialect dialect, const struct policy_wish *w, struct policy_verdict *v) {
        struct policy_target t;

        advice_target(dialect, &t);
        policy_compile(&t, w, v);
}

/* What a program says in its own interface's words comes out there as the same. */
static void test_round_trip(void **state) {
        for (size_t i = 0; i < advice_rows_count; i++) {
                const struct advice_row *row = &advice_rows[i];
                struct policy_verdict v;

                if (row->wishes_count == 0)
                        continue;
                compile(row->api, &row->wishes[0], &v);
                print_message("%s %s\n", row->name, row->number);
                assert_int_not_equal(v.became, POLICY_REFUSED);
                assert_int_not_equal(v.steps_count, 0);
                if (row->type < 0) {
                        assert_non_null(row->differs);
                        continue;
                }
                assert_int_equal(v.steps[0].type, row->type);
                assert_int_equal(v.steps[0].argument, row->argument);
        }
}

/* Soft nodes can all there is, or say why not. */
static void test_engine(void **state) {
        for (size_t i = 0; i < advice_rows_count; i++)
                for (unsigned k = 0; k < advice_rows[i].wishes_count; k++) {
                        struct policy_verdict v;

                        compile(POLICY_ENGINE, &advice_rows[i].wishes[k], &v);
                        assert_int_not_equal(v.became, POLICY_REFUSED);
                        assert_int_equal(v.steps_count, 0);
                }
}

static struct policy_target all_targets[64];

static unsigned targets(enum policy_dialect dialect) {
        unsigned n = 0;

        for (unsigned bits = 0; bits < 32; bits++)
                all_targets[n++] = (struct policy_target){ .dialect = dialect,
                                                           .host = bits & 1,
                                                           .faults = bits & 2,
                                                           .huge_pages = bits & 4,
                                                           .peers = bits & 8,
                                                           .granule = bits & 16 ? 2 << 20 : 0,
                                                           .id = ROW_DEVICE,
                                                           .other = ROW_OTHER };
        return n;
}

static void check(const struct policy_target *t, const struct policy_wish *w) {
        struct policy_verdict v;

        memset(&v, 0x5a, sizeof(v));
        policy_compile(t, w, &v);
        /* A reason is given for all but what is applied as it is, and is a sentence's part. */
        assert_int_equal(v.became == POLICY_APPLIED, v.why == POLICY_WHY_NONE);
        assert_int_equal(v.why == POLICY_WHY_NONE, policy_why_text(v.why)[0] == 0);
        /* Who is refused is told nothing that his driver would be asked for. */
        if (v.became == POLICY_REFUSED)
                assert_int_equal(v.steps_count, 0);
        assert_in_range(v.steps_count, 0, 2);
        if (t->dialect == POLICY_ENGINE)
                assert_int_equal(v.steps_count, 0);
        /* Nobody promises what the CPU cannot do, or a fault to who has none. test_hmm's pages move on request alone,
         * so that to stay in the host is all it can do. */
        if (w->word != POLICY_WISH_PREFERRED || t->dialect == POLICY_HMM)
                return;
        if ((!t->host && !t->faults && w->location != POLICY_AT_NONE) || w->location == POLICY_AT_FAR)
                assert_int_not_equal(v.became, POLICY_APPLIED);
}

static void test_every_combination(void **state) {
        static const uint64_t values[] = { 0, 1, 2, 3, 4096, 65536, 2 << 20 };

        for (enum policy_dialect d = 0; d < _POLICY_DIALECT_N; d++)
                for (unsigned t = 0, n = targets(d); t < n; t++)
                        for (enum policy_word word = 0; word < _POLICY_WISH_N; word++)
                                for (enum policy_location at = POLICY_AT_NONE; at <= POLICY_AT_FAR; at++)
                                        for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
                                                check(&all_targets[t], &(struct policy_wish){ word, at, values[i] });
}

static void expect(const struct policy_target *t, struct policy_wish w, enum policy_became became,
                   enum policy_why why) {
        struct policy_verdict v;

        policy_compile(t, &w, &v);
        assert_int_equal(v.became, became);
        assert_int_equal(v.why, why);
}

/* The traps that users of today's interfaces find out at run time. */
static void test_traps(void **state) {
        struct policy_target t;

        advice_target(POLICY_ENGINE, &t);
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_FAR, 0 }, POLICY_APPROXIMATED,
               POLICY_WHY_NO_LINK);
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_PEER, 0 }, POLICY_APPLIED, POLICY_WHY_NONE);
        t.faults = false;
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_HERE, 0 }, POLICY_APPROXIMATED,
               POLICY_WHY_PREFETCH);
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_PEER, 0 }, POLICY_REFUSED,
               POLICY_WHY_NO_FAULTS);
        expect(&t, (struct policy_wish){ POLICY_WISH_ACCESSED_BY, POLICY_AT_PEER, 1 }, POLICY_REFUSED,
               POLICY_WHY_NO_FAULTS);
        expect(&t, (struct policy_wish){ POLICY_WISH_READ_MOSTLY, POLICY_AT_NONE, 1 }, POLICY_REFUSED,
               POLICY_WHY_NO_FAULTS);
        t.host = true;
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_PEER, 0 }, POLICY_APPROXIMATED,
               POLICY_WHY_CPU);
        advice_target(POLICY_XE, &t);
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_FAR, 0 }, POLICY_REFUSED, POLICY_WHY_NO_LINK);
        t.peers = false;
        expect(&t, (struct policy_wish){ POLICY_WISH_PREFERRED, POLICY_AT_PEER, 0 }, POLICY_REFUSED,
               POLICY_WHY_OTHER_DEVICE);
        advice_target(POLICY_KFD, &t);
        t.huge_pages = false;
        expect(&t, (struct policy_wish){ POLICY_WISH_GRANULARITY, POLICY_AT_NONE, 2 << 20 }, POLICY_APPROXIMATED,
               POLICY_WHY_NO_HUGE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_engine),
                cmocka_unit_test(test_every_combination),
                cmocka_unit_test(test_traps),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
