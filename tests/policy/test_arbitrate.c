/* Who wins, case by case; then random wishes against the rules spelt out over sorted lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/arbitrate.h"

enum { VOICES = 12, PARTIES = 6 };

static struct policy_party parties[PARTIES];
static struct policy_hint hints[VOICES];
static struct policy_voice voices[VOICES];
static uint32_t count;
static struct policy_ruling ruling;

static int setup(void **state) {
        count = 0;
        memset(hints, 0, sizeof(hints));
        for (unsigned i = 0; i < PARTIES; i++)
                parties[i].rank = i < 5 ? (enum policy_rank)i : POLICY_WRITER;
        return 0;
}

/* In the order in which they are said. */
static struct policy_advice *say(unsigned party, uint32_t says) {
        hints[count] = (struct policy_hint){ .party = &parties[party], .order = count + 1 };
        voices[count] = (struct policy_voice){ .hint = &hints[count], .says = says };
        return &hints[count++].advice;
}

static void rule(void) {
        policy_arbitrate(voices, count, &ruling);
}

static void fate(uint32_t voice, enum policy_attribute a, enum policy_fate expected) {
        assert_int_equal(policy_fate(voices, &ruling, voice, a), expected);
}

#define BIT(a) (1u << POLICY_##a)

static void test_nobody(void **state) {
        rule();
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++) {
                assert_int_equal(ruling.winner[a], POLICY_NOBODY);
                assert_true(policy_is_zero(&ruling.advice, a));
        }
}

static void test_rank(void **state) {
        for (unsigned p = 5; p-- > 0;)
                say(p, BIT(PREFERRED))->preferred = p + 1;
        rule();
        assert_int_equal(ruling.winner[POLICY_PREFERRED], 0);
        assert_int_equal(ruling.advice.preferred, POLICY_ADMINISTRATOR + 1);
        for (uint32_t i = 1; i < 5; i++)
                fate(i, POLICY_PREFERRED, POLICY_OUTRANKED);
        fate(0, POLICY_PREFERRED, POLICY_WON);
        fate(0, POLICY_PINNED, POLICY_SILENT);
}

static void test_later(void **state) {
        say(POLICY_WRITER, BIT(GRANULARITY))->granularity = 4096;
        say(5, BIT(GRANULARITY))->granularity = 65536;
        say(POLICY_READER, BIT(GRANULARITY))->granularity = 8192;
        say(POLICY_READER, BIT(GRANULARITY))->granularity = 65536;
        rule();
        assert_int_equal(ruling.advice.granularity, 65536);
        assert_int_equal(ruling.winner[POLICY_GRANULARITY], 1);
        fate(0, POLICY_GRANULARITY, POLICY_OVERTAKEN);
        fate(2, POLICY_GRANULARITY, POLICY_OUTRANKED);
        fate(3, POLICY_GRANULARITY, POLICY_AGREES);
}

static void test_accessed_by(void **state) {
        say(POLICY_READER, BIT(ACCESSED_BY))->accessed_by = 1;
        say(POLICY_OWNER, BIT(ACCESSED_BY))->accessed_by = 4;
        say(POLICY_WRITER, BIT(ACCESSED_BY))->accessed_by = 6;
        rule();
        assert_int_equal(ruling.advice.accessed_by, 7);
        assert_int_equal(ruling.winner[POLICY_ACCESSED_BY], 1);
        fate(0, POLICY_ACCESSED_BY, POLICY_AGREES);
        say(POLICY_WRITER, BIT(ACCESSED_BY)); /* nobody */
        rule();
        assert_int_equal(ruling.advice.accessed_by, 4);
        fate(0, POLICY_ACCESSED_BY, POLICY_OUTRANKED);
        fate(2, POLICY_ACCESSED_BY, POLICY_OUTRANKED);
}

static void test_fallbacks_go_with_their_location(void **state) {
        struct policy_advice *a = say(POLICY_WRITER, BIT(PREFERRED) | BIT(FALLBACK));

        a->preferred = 1;
        a->fallback[0] = 2;
        rule();
        assert_int_equal(ruling.advice.fallback[0], 2);
        say(POLICY_OWNER, BIT(PREFERRED))->preferred = 3;
        rule();
        assert_int_equal(ruling.advice.preferred, 3);
        assert_int_equal(ruling.advice.fallback[0], 0);
        fate(0, POLICY_FALLBACK, POLICY_MOOT);
        say(POLICY_OWNER, BIT(FALLBACK))->fallback[0] = 4;
        rule();
        assert_int_equal(ruling.advice.fallback[0], 4);
        fate(0, POLICY_FALLBACK, POLICY_MOOT);
}

static void test_fallbacks_without_a_location(void **state) {
        say(POLICY_WRITER, BIT(FALLBACK))->fallback[0] = 2;
        rule();
        assert_int_equal(ruling.advice.fallback[0], 0);
        fate(0, POLICY_FALLBACK, POLICY_MOOT);
}

static void test_pin_yields_to_rank(void **state) {
        say(POLICY_WRITER, BIT(PINNED))->pinned = true;
        say(5, BIT(PREFERRED))->preferred = 2;
        rule();
        assert_true(ruling.advice.pinned);
        say(POLICY_OWNER, BIT(PREFERRED))->preferred = 1;
        rule();
        assert_false(ruling.advice.pinned);
        fate(0, POLICY_PINNED, POLICY_MOOT);
        say(POLICY_OWNER, BIT(PINNED))->pinned = true;
        rule();
        assert_true(ruling.advice.pinned);
        assert_int_equal(ruling.advice.preferred, 1);
        fate(0, POLICY_PINNED, POLICY_AGREES);
}

static void test_a_no_is_a_wish(void **state) {
        say(POLICY_WRITER, BIT(READ_MOSTLY) | BIT(PREFERRED))->read_mostly = true;
        hints[0].advice.preferred = 2;
        say(POLICY_OWNER, BIT(READ_MOSTLY) | BIT(PREFERRED));
        rule();
        assert_false(ruling.advice.read_mostly);
        assert_int_equal(ruling.advice.preferred, 0);
        assert_int_equal(ruling.winner[POLICY_READ_MOSTLY], 1);
        fate(0, POLICY_READ_MOSTLY, POLICY_OUTRANKED);
}

/* ---- random ---- */

static int by_order(const void *a, const void *b) {
        const struct policy_hint *x = voices[*(const uint32_t *)a].hint, *y = voices[*(const uint32_t *)b].hint;

        if (x->party->rank != y->party->rank)
                return x->party->rank > y->party->rank ? -1 : 1;
        return x->order > y->order ? -1 : 1;
}

static uint32_t sorted(uint32_t *list, enum policy_attribute a) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < count; i++)
                if (voices[i].says >> a & 1)
                        list[n++] = i;
        qsort(list, n, sizeof(list[0]), by_order);
        return n;
}

static void expect_first(enum policy_attribute a) {
        uint32_t list[VOICES], n = sorted(list, a);

        assert_int_equal(ruling.winner[a], n ? list[0] : POLICY_NOBODY);
        if (n)
                assert_true(policy_same(&ruling.advice, &hints[list[0]].advice, a));
        else
                assert_true(policy_is_zero(&ruling.advice, a));
        for (uint32_t i = 1; i < n; i++) {
                bool alike = policy_same(&hints[list[i]].advice, &hints[list[0]].advice, a);
                bool lower = hints[list[i]].party->rank < hints[list[0]].party->rank;

                fate(list[i], a, alike ? POLICY_AGREES : lower ? POLICY_OUTRANKED : POLICY_OVERTAKEN);
        }
}

static void expect_accessed_by(void) {
        uint32_t list[VOICES], n = sorted(list, POLICY_ACCESSED_BY);
        uint64_t nodes = 0;

        for (uint32_t i = 0; i < n && hints[list[i]].advice.accessed_by; i++)
                nodes |= hints[list[i]].advice.accessed_by;
        assert_int_equal(ruling.advice.accessed_by, nodes);
        assert_int_equal(ruling.winner[POLICY_ACCESSED_BY], n ? list[0] : POLICY_NOBODY);
}

static void expect_fallback(void) {
        uint32_t list[VOICES], n = sorted(list, POLICY_FALLBACK), winner = POLICY_NOBODY;
        uint32_t location = ruling.winner[POLICY_PREFERRED];

        for (uint32_t i = 0; ruling.advice.preferred && i < n && winner == POLICY_NOBODY; i++)
                if (hints[list[i]].party == hints[location].party)
                        winner = list[i];
        assert_int_equal(ruling.winner[POLICY_FALLBACK], winner);
        if (winner == POLICY_NOBODY)
                assert_true(policy_is_zero(&ruling.advice, POLICY_FALLBACK));
        else
                assert_true(policy_same(&ruling.advice, &hints[winner].advice, POLICY_FALLBACK));
}

static void expect_pinned(void) {
        uint32_t list[VOICES], n = sorted(list, POLICY_PINNED), location = ruling.winner[POLICY_PREFERRED];
        bool pinned = n && hints[list[0]].advice.pinned;

        if (pinned && ruling.advice.preferred && hints[location].party->rank > hints[list[0]].party->rank) {
                assert_false(ruling.advice.pinned);
                assert_int_equal(ruling.winner[POLICY_PINNED], POLICY_NOBODY);
                return;
        }
        assert_int_equal(ruling.advice.pinned, pinned);
        assert_int_equal(ruling.winner[POLICY_PINNED], n ? list[0] : POLICY_NOBODY);
}

static void wish(struct policy_advice *a) {
        a->preferred = (uint32_t)rand() % 4;
        for (unsigned i = 0; i < 3; i++)
                a->fallback[i] = (uint32_t)rand() % 3;
        a->granularity = rand() % 3 ? 4096u << rand() % 3 : 0;
        a->accessed_by = rand() % 4 ? (uint64_t)rand() % 16 : 0;
        a->read_mostly = rand() % 2;
        a->pinned = rand() % 2;
        a->atomics = (uint8_t)(rand() % 4);
        a->coarse = rand() % 2;
        a->group = (uint32_t)rand() % 3;
}

static void shuffle(void) {
        for (uint32_t i = count; i > 1; i--) {
                uint32_t k = (uint32_t)rand() % i;
                struct policy_hint hint = hints[k];
                uint32_t says = voices[k].says;

                hints[k] = hints[i - 1];
                voices[k].says = voices[i - 1].says;
                hints[i - 1] = hint;
                voices[i - 1].says = says;
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

        printf("SVMD_SEED=%u\n", seed);
        srand(seed);
        for (unsigned round = 0; round < 20000; round++) {
                count = 0;
                for (unsigned i = 0; i < PARTIES; i++)
                        parties[i].rank = (enum policy_rank)(rand() % 5);
                for (unsigned n = (unsigned)rand() % (VOICES + 1); n > 0; n--)
                        wish(say((unsigned)rand() % PARTIES, (uint32_t)rand() & ((1u << _POLICY_ATTRIBUTE_N) - 1)));
                shuffle();
                rule();
                expect_first(POLICY_PREFERRED);
                expect_first(POLICY_READ_MOSTLY);
                expect_first(POLICY_GRANULARITY);
                expect_first(POLICY_ATOMICS);
                expect_first(POLICY_COARSE);
                expect_first(POLICY_GROUP);
                expect_accessed_by();
                expect_fallback();
                expect_pinned();
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_nobody, setup),
                cmocka_unit_test_setup(test_rank, setup),
                cmocka_unit_test_setup(test_later, setup),
                cmocka_unit_test_setup(test_accessed_by, setup),
                cmocka_unit_test_setup(test_fallbacks_go_with_their_location, setup),
                cmocka_unit_test_setup(test_fallbacks_without_a_location, setup),
                cmocka_unit_test_setup(test_pin_yields_to_rank, setup),
                cmocka_unit_test_setup(test_a_no_is_a_wish, setup),
                cmocka_unit_test_setup(test_random, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
