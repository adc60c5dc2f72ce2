/* Hints side by side, case by case; then random words, ranks and ends against a model that keeps for each granule and
 * party what it said last of each attribute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/hints.h"

enum { GRANULES = 48, PARTIES = 7, ADMINISTRATORS = 5 /* those behind it */ };
#define BIT(a) (1u << POLICY_##a)

static struct hints *h;
static uint64_t clock_ns;

static int setup(void **state) {
        h = hints_new();
        clock_ns = 1000;
        return !h;
}

static int teardown(void **state) {
        hints_free(h);
        return 0;
}

static int try_to_say(uint64_t session, enum policy_rank rank, const struct hint_words *w) {
        struct hint_who who = { .session = session, .pid = 70, .uid = 1000, .rank = rank, .client = "test" };
        struct hints_change *c;
        int r = hints_prepare(h, &c, &who, w);

        if (r == 0)
                hints_commit(h, c);
        return r;
}

static void say(uint64_t session, enum policy_rank rank, uint32_t first, uint32_t count, uint32_t what,
                struct policy_advice a) {
        struct hint_words w = { .first = first, .count = count, .what = what, .said_ns = clock_ns++, .advice = a };

        assert_int_equal(try_to_say(session, rank, &w), 0);
        assert_int_equal(hints_check(h), 0);
}

static struct policy_advice at(uint32_t granule) {
        struct policy_advice a = { 0 };

        hints_get(h, granule, &a);
        return a;
}

#define PREFER(node) ((struct policy_advice){ .preferred = (node) })

static void test_side_by_side(void **state) {
        say(1, POLICY_WRITER, 0, 40, BIT(PREFERRED), PREFER(1));
        say(2, POLICY_OWNER, 10, 10, BIT(PREFERRED), PREFER(2));
        say(1, POLICY_WRITER, 15, 10, BIT(PREFERRED), PREFER(3));
        assert_int_equal(at(5).preferred, 1);
        assert_int_equal(at(12).preferred, 2);
        assert_int_equal(at(17).preferred, 2);
        assert_int_equal(at(22).preferred, 3);
        assert_int_equal(hints_last(h, 17), 1);
        assert_int_equal(hints_last(h, 45), 0);
        say(2, POLICY_OWNER, 0, 40, BIT(PREFERRED), PREFER(0));
        assert_int_equal(at(12).preferred, 1);
        assert_int_equal(at(17).preferred, 3);
        while (hints_leave(h, 1))
                ;
        assert_int_equal(hints_check(h), 0);
        assert_int_equal(at(12).preferred, 0);
}

static void test_neighbours_that_come_out_alike_are_one(void **state) {
        for (uint32_t i = 0; i < 40; i++)
                say(1, POLICY_WRITER, i, 1, BIT(PREFERRED), PREFER(1));
        assert_int_equal(hints_runs(h), 1);
        say(1, POLICY_WRITER, 3, 1, BIT(PREFERRED), PREFER(2));
        assert_int_equal(hints_runs(h), 3);
}

static void test_administrators_are_one(void **state) {
        say(1, POLICY_ADMINISTRATOR, 0, 40, BIT(PREFERRED), PREFER(1));
        say(2, POLICY_ADMINISTRATOR, 0, 20, BIT(PREFERRED), PREFER(0));
        assert_int_equal(at(0).preferred, 0);
        assert_int_equal(at(20).preferred, 1);
}

static void test_what_an_owner_left(void **state) {
        say(1, POLICY_OWNER, 0, 40, BIT(PREFERRED) | BIT(PINNED),
            (struct policy_advice){ .preferred = 1, .pinned = true });
        say(2, POLICY_WRITER, 0, 10, BIT(PREFERRED), PREFER(2));
        say(3, POLICY_READER, 0, 40, BIT(PREFERRED), PREFER(3));
        hints_rank(h, 1, POLICY_LEFT);
        assert_int_equal(hints_check(h), 0);
        assert_int_equal(at(5).preferred, 2);
        assert_int_equal(at(15).preferred, 1);
        assert_true(at(15).pinned);
        hints_rank(h, 2, POLICY_OWNER);
        say(2, POLICY_OWNER, 0, 40, BIT(PREFERRED), PREFER(0));
        assert_int_equal(at(5).preferred, 1);
        assert_int_equal(hints_left(h, 0), 1);
        assert_int_equal(hints_left(h, 1), 0);
        while (hints_leave(h, 1))
                ;
        assert_int_equal(at(15).preferred, 3);
        assert_false(at(15).pinned);
}

struct seen {
        uint32_t granules[GRANULES], count;
};

static void walk_group(uint32_t group, struct seen *ret) {
        struct hint_walk walk = { .group = group, .left = 100 };
        uint32_t g;

        ret->count = 0;
        while ((g = hints_group_next(h, &walk)) != UINT32_MAX)
                ret->granules[ret->count++] = g;
}

static void test_groups(void **state) {
        struct seen seen;

        say(1, POLICY_WRITER, 5, 3, BIT(GROUP), (struct policy_advice){ .group = 9 });
        say(1, POLICY_WRITER, 30, 2, BIT(GROUP), (struct policy_advice){ .group = 9 });
        say(2, POLICY_OWNER, 6, 1, BIT(GROUP), (struct policy_advice){ .group = 4 });
        walk_group(9, &seen);
        assert_int_equal(seen.count, 4);
        assert_int_equal(seen.granules[0], 5);
        assert_int_equal(seen.granules[1], 7);
        assert_int_equal(seen.granules[3], 31);
        walk_group(4, &seen);
        assert_int_equal(seen.count, 1);
        walk_group(5, &seen);
        assert_int_equal(seen.count, 0);
}

/* ---- random ---- */

struct word {
        bool said;
        uint32_t hint; /* words of one saying are one hint */
};

static struct policy_party model_party[PARTIES];
static struct word model[GRANULES][PARTIES][_POLICY_ATTRIBUTE_N];
static struct policy_hint said[20000];
static uint32_t said_count;

static bool replaces(unsigned by, unsigned of) {
        return by == of || (by >= ADMINISTRATORS && of >= ADMINISTRATORS);
}

static void model_say(unsigned party, const struct hint_words *w) {
        said[said_count] =
                (struct policy_hint){ .party = &model_party[party], .order = said_count + 1, .advice = w->advice };
        for (uint32_t g = w->first; g < w->first + w->count; g++)
                for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++) {
                        if (!(w->what >> a & 1))
                                continue;
                        for (unsigned p = 0; p < PARTIES; p++)
                                if (replaces(party, p))
                                        model[g][p][a].said = false;
                        model[g][party][a] =
                                (struct word){ .said = !policy_is_zero(&w->advice, a) || w->against >> a & 1,
                                               .hint = said_count };
                }
        said_count++;
}

static void expect(const struct hints *x, uint32_t g) {
        struct policy_voice voices[PARTIES * _POLICY_ATTRIBUTE_N];
        struct policy_advice got = { 0 };
        struct policy_ruling r;
        uint32_t count = 0;

        for (unsigned p = 0; p < PARTIES; p++)
                for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                        if (model[g][p][a].said)
                                voices[count++] =
                                        (struct policy_voice){ .hint = &said[model[g][p][a].hint], .says = 1u << a };
        policy_arbitrate(voices, count, &r);
        hints_get(x, g, &got);
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                assert_true(policy_same(&got, &r.advice, a));
}

static struct policy_advice wish(void) {
        return (struct policy_advice){
                .preferred = (uint32_t)rand() % 3,
                .fallback = { (uint32_t)rand() % 3 },
                .granularity = rand() % 2 ? 4096 : 0,
                .accessed_by = (uint64_t)rand() % 4,
                .read_mostly = rand() % 2,
                .pinned = rand() % 2,
                .atomics = (uint8_t)(rand() % 2),
                .coarse = rand() % 2,
                .group = (uint32_t)rand() % 3,
        };
}

/* Now and then without memory. */
static void random_say(void) {
        unsigned party = (unsigned)rand() % PARTIES;
        struct hint_words w = { .first = (uint32_t)rand() % GRANULES,
                                .what = (uint32_t)rand() % ((1u << _POLICY_ATTRIBUTE_N) - 1) + 1,
                                .against = (uint32_t)rand() & (uint32_t)rand(),
                                .said_ns = clock_ns++,
                                .advice = wish() };
        int r;

        if (rand() % 3 == 0) /* the simplest, that goes on */
                w.what = BIT(PREFERRED);
        w.count = (uint32_t)rand() % (GRANULES - w.first) / (rand() % 3 ? 8 : 1) + 1;
        if (model_party[party].rank == POLICY_LEFT)
                return;
        if (rand() % 4 == 0)
                alloc_fail_at((unsigned long)rand() % 12 + 1);
        r = try_to_say(party + 1, model_party[party].rank, &w);
        alloc_fail_off();
        if (r == 0)
                model_say(party, &w);
        else
                assert_int_equal(r, -12);
}

static void leave(unsigned p) {
        while (hints_leave(h, p + 1))
                ;
        for (uint32_t g = 0; g < GRANULES; g++)
                memset(model[g][p], 0, sizeof(model[g][p]));
        model_party[p].rank = rand() % 2 ? POLICY_READER : POLICY_WRITER;
}

static void random_leave(void) {
        leave((unsigned)rand() % ADMINISTRATORS);
}

/* There is one owner at most. */
static void random_owner(void) {
        unsigned p = (unsigned)rand() % ADMINISTRATORS;

        for (unsigned q = 0; q < ADMINISTRATORS; q++)
                if (model_party[q].rank == POLICY_OWNER) {
                        model_party[q].rank = POLICY_LEFT;
                        hints_rank(h, q + 1, POLICY_LEFT);
                        return;
                }
        if (model_party[p].rank == POLICY_LEFT)
                return;
        model_party[p].rank = POLICY_OWNER;
        hints_rank(h, p + 1, POLICY_OWNER);
}

static int say_again(void *userdata, const struct hint *hint) {
        const struct hint_party *p = (const struct hint_party *)hint->policy.party;
        struct hint_who who = { .session = p->session, .rank = p->policy.rank, .client = p->client };
        struct hint_words w = { .first = hint->first,
                                .count = hint->count,
                                .what = hint->what,
                                .against = hint->against,
                                .said_ns = hint->said_ns,
                                .advice = hint->policy.advice };
        struct hints_change *c;

        assert_int_equal(hints_prepare(userdata, &c, &who, &w), 0);
        hints_commit(userdata, c);
        return 0;
}

/* What is heard, said again in its order, is the same. */
static void expect_again(void) {
        struct hints *again = hints_new();

        hints_each(h, say_again, again);
        assert_int_equal(hints_check(again), 0);
        for (uint32_t g = 0; g < GRANULES; g++)
                expect(again, g);
        hints_free(again);
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

        printf("SVMD_SEED=%u\n", seed);
        srand(seed);
        for (unsigned p = 0; p < PARTIES; p++)
                model_party[p].rank = p < ADMINISTRATORS ? POLICY_WRITER : POLICY_ADMINISTRATOR;
        for (unsigned step = 0; step < 20000; step++) {
                unsigned what = (unsigned)rand() % 40;

                if (what == 0)
                        random_leave();
                else if (what == 1)
                        random_owner();
                else
                        random_say();
                assert_int_equal(hints_check(h), 0);
                for (uint32_t g = 0; g < GRANULES; g++)
                        expect(h, g);
                if (step % 50 == 0)
                        expect_again();
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_side_by_side, setup, teardown),
                cmocka_unit_test_setup_teardown(test_neighbours_that_come_out_alike_are_one, setup, teardown),
                cmocka_unit_test_setup_teardown(test_administrators_are_one, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_an_owner_left, setup, teardown),
                cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
