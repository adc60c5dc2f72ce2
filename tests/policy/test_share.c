/*
 * Shares of a node: by hand, and at random against the definition, where each byte is somebody's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "policy/share.h"

enum { SHARES = 5 };

static void sum_up(const struct policy_share *s, struct policy_promises *ret, uint64_t *ret_used) {
        *ret = (struct policy_promises){ 0 };
        *ret_used = 0;
        for (unsigned i = 0; i < SHARES; i++) {
                ret->min += s[i].min;
                ret->unused += policy_unused(&s[i]);
                *ret_used += s[i].used;
        }
}

static void test_room(void **state) {
        struct policy_share s[SHARES] = { { .used = 2, .min = 6 }, { .used = 9, .min = 4 }, { .used = 1 } };
        struct policy_promises all;
        uint64_t used;

        sum_up(s, &all, &used);
        assert_int_equal(policy_share_room(&all, 20, 20, used, &s[0], 1), 8); /* 20 - 12 */
        assert_int_equal(policy_share_room(&all, 20, 20, used, &s[1], 1), 4); /* and 4 are kept */
        assert_int_equal(policy_share_room(&all, 20, 20, used, NULL, 0), 4);
        assert_int_equal(policy_share_room(&all, 14, 14, used, &s[2], 1), 0); /* a debt of 2: */
        assert_int_equal(policy_share_room(&all, 14, 14, used, &s[0], 1), 4); /* not to the min */
        assert_true(policy_share_fits_min(&all, 14, &s[0], 1, 4));
        assert_false(policy_share_fits_min(&all, 14, &s[0], 1, 5));
        assert_false(policy_share_fits_min(&all, 14, NULL, 0, 1));
}

/* With 10 promised and 7 to be granted a min is 3 less. */
static void test_too_much(void **state) {
        struct policy_share s[SHARES] = { { .used = 0, .min = 6 }, { .used = 4, .min = 4 } };
        struct policy_promises all;
        uint64_t used;

        sum_up(s, &all, &used);
        assert_int_equal(policy_floor(&all, 7, 6), 3);
        assert_int_equal(policy_kept(&all, 7), 3);
        assert_true(policy_share_gives(&all, 7, &s[1], POLICY_ABOVE_MIN));
        assert_false(policy_share_gives(&all, 10, &s[1], POLICY_ABOVE_MIN));
        assert_int_equal(policy_share_room(&all, 7, 7, used, &s[0], 1), 3);
}

static void test_turns(void **state) {
        struct policy_share s = { .used = 5, .min = 4, .low = 6 };
        struct policy_promises all = { 4, 0 };

        assert_false(policy_share_gives(&all, 10, &s, POLICY_ABOVE_LOW));
        assert_true(policy_share_gives(&all, 10, &s, POLICY_ABOVE_MIN));
        s.used = 4;
        assert_false(policy_share_gives(&all, 10, &s, POLICY_ABOVE_MIN));
        s.used = 7;
        assert_true(policy_share_gives(&all, 10, &s, POLICY_ABOVE_LOW));
}

static void test_fit(void **state) {
        struct policy_fit f = { 0 };

        policy_fit_node(&f, 10, 4);
        policy_fit_node(&f, 3, 4); /* less is left than is promised: nothing for others */
        assert_int_equal(f.free, 6);
        assert_int_equal(policy_min_holds(4, 1), 3);
        assert_int_equal(policy_min_holds(0, 1), 0);
        policy_fit_sizes(&f, 5, 6);
        policy_fit_sizes(&f, 9, 3);
        assert_int_equal(f.beyond, 6);
        assert_true(policy_fits(&f));
        policy_fit_sizes(&f, 1, 0);
        assert_false(policy_fits(&f));
}

static void test_ask(void **state) {
        const struct policy_share s[SHARES] = {
                { .used = 10, .high = UINT64_MAX, .min = 2 }, /* 8 above min and low */
                { .used = 9, .high = 6, .low = 1 },           /* 3 above high */
                { .used = 20, .high = UINT64_MAX, .low = 18, .min = 15 },
                { .used = 3, .high = UINT64_MAX, .min = 5 },
                { .used = 1, .high = 0, .min = 1 },
        };
        uint64_t asked[SHARES];

        assert_int_equal(policy_ask(s, SHARES, 2, asked), 2);
        assert_int_equal(asked[1], 2);
        assert_int_equal(policy_ask(s, SHARES, 5, asked), 5);
        assert_int_equal(asked[1], 3); /* then whoever is most above low: 0 and 1 are by 8, the first goes first */
        assert_int_equal(asked[0], 2);
        assert_int_equal(policy_ask(s, SHARES, 20, asked), 20);
        assert_int_equal(asked[0], 8);
        assert_int_equal(asked[1], 9); /* below its low, as are 0 and 2 then: */
        assert_int_equal(asked[2], 3);
        assert_int_equal(policy_ask(s, SHARES, UINT64_MAX, asked), 8 + 9 + 5);
        assert_int_equal(asked[3] + asked[4], 0);
}

/* ---- at random ---- */

static unsigned seed;

static uint64_t below(unsigned n) {
        return (uint64_t)rand_r(&seed) % n;
}

/* Who takes what he is given room for never uses what another one is promised, and gets all that is nobody's. */
static void check_room(struct policy_share *s, uint64_t granted) {
        struct policy_promises all;
        unsigned i = (unsigned)below(SHARES);
        uint64_t used, room, others = 0;

        sum_up(s, &all, &used);
        room = policy_share_room(&all, granted, granted, used, &s[i], 1);
        for (unsigned k = 0; k < SHARES; k++)
                others += k == i ? 0 : s[k].used > s[k].min ? s[k].used : s[k].min;
        if (others + s[i].used <= granted && all.min <= granted)
                assert_true(room == granted - others - s[i].used || room == policy_unused(&s[i]));
        if (room && all.min <= granted && s[i].used + room > s[i].min)
                assert_true(others + s[i].used + room <= granted);
        if (all.min <= granted)
                assert_true(room >= policy_unused(&s[i]));
        s[i].used += below((unsigned)room + 1);
}

static void check_ask(const struct policy_share *s, uint64_t need) {
        uint64_t asked[SHARES], sum = 0, could = 0, all = policy_ask(s, SHARES, need, asked);
        bool spared = false, hit = false;

        for (unsigned i = 0; i < SHARES; i++) {
                uint64_t most = policy_less(s[i].used, s[i].min), floor = s[i].low > s[i].min ? s[i].low : s[i].min;

                assert_true(asked[i] <= most);
                sum += asked[i];
                could += most;
                spared |= asked[i] < policy_less(s[i].used, floor);
                hit |= asked[i] > policy_less(s[i].used, s[i].high < floor ? s[i].high : floor);
        }
        assert_int_equal(sum, all);
        assert_int_equal(all, need < could ? need : could);
        assert_false(spared && hit); /* nobody goes under his low while another one is above his */
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");

        seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
        printf("SVMD_SEED=%u\n", seed);
        for (unsigned k = 0; k < 20000; k++) {
                struct policy_share s[SHARES];
                uint64_t granted = 10 + below(100);

                for (unsigned i = 0; i < SHARES; i++)
                        s[i] = (struct policy_share){ below(10), below(3) ? 0 : below(30), below(30), below(40) };
                for (unsigned i = 0; i < 5; i++)
                        check_room(s, granted);
                check_ask(s, below(60));
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_room), cmocka_unit_test(test_too_much), cmocka_unit_test(test_turns),
                cmocka_unit_test(test_fit),  cmocka_unit_test(test_ask),      cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
