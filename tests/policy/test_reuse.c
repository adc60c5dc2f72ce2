/* When something is used again: what reuse.c says of periods, rows of uses, what is new, and what does not come back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "policy/policy.h"
#include "policy/reuse.h"

static const struct policy_haste calm;

/* `count` uses of others. */
static void others(uint64_t *uses, uint64_t count) {
        *uses += count;
}

static void test_unknown(void **state) {
        struct policy_reuse never = { 0 }, once = { 0 };
        uint64_t uses = 0;

        policy_used(&once, &uses);
        assert_int_equal(uses, 1);
        others(&uses, 99);
        assert_int_equal(policy_away(&once, &calm, uses), 99);
        assert_int_equal(policy_away(&never, &calm, uses), 100);
}

static void test_period(void **state) {
        struct policy_reuse r = { 0 };
        uint64_t uses = 0;

        policy_used(&r, &uses);
        others(&uses, 799);
        policy_used(&r, &uses);
        assert_int_equal(policy_away(&r, &calm, uses), 800);
        others(&uses, 300);
        assert_int_equal(policy_away(&r, &calm, uses), 500);
        others(&uses, 500);
        assert_int_equal(policy_away(&r, &calm, uses), 0);
        others(&uses, 101);
        assert_true(policy_away(&r, &calm, uses) > 700);
}

/* What does not come back is sooner or later farther away than all that does. */
static void test_dead(void **state) {
        struct policy_reuse dead = { 0 }, alive = { 0 };
        uint64_t uses = 0;

        policy_used(&dead, &uses);
        others(&uses, 49);
        policy_used(&dead, &uses);
        policy_used(&alive, &uses);
        for (unsigned i = 0; i < 60; i++) {
                others(&uses, 499);
                policy_used(&alive, &uses);
        }
        assert_true(policy_away(&dead, &calm, uses) > policy_away(&alive, &calm, uses));
}

/* The same granule again and again is one use. */
static void test_same(void **state) {
        struct policy_reuse r = { 0 };
        uint64_t uses = 7;

        for (unsigned i = 0; i < 5; i++)
                policy_used(&r, &uses);
        assert_int_equal(uses, 8);
        assert_int_equal(r.gap, 0);
}

/* Uses in a row, then a long time: within the row it stays, behind it the period counts. */
static void test_row(void **state) {
        struct policy_reuse r = { 0 };
        uint64_t uses = 0;

        for (unsigned pass = 0; pass < 4; pass++) {
                for (unsigned i = 0; i < 3; i++) {
                        policy_used(&r, &uses);
                        others(&uses, 19);
                }
                others(&uses, 1960);
        }
        policy_used(&r, &uses);
        others(&uses, 10);
        assert_in_range(policy_away(&r, &calm, uses), 1, 25);
        others(&uses, 100);
        assert_in_range(policy_away(&r, &calm, uses), 1700, 2000);
}

static void test_brought(void **state) {
        struct policy_reuse new = { 0 }, due = { 0 };
        uint64_t uses = 0;

        policy_used(&due, &uses);
        others(&uses, 99);
        policy_used(&due, &uses);
        others(&uses, 90);
        policy_brought(&new, uses);
        policy_brought(&due, uses);
        assert_int_equal(policy_away(&new, &calm, uses), 0);
        assert_int_equal(policy_away(&due, &calm, uses), 10);
        others(&uses, 500);
        policy_brought(&due, uses);
        assert_int_equal(policy_away(&due, &calm, uses), 100);
}

static void test_haste(void **state) {
        struct policy_reuse r = { 0 };
        struct policy_haste h = { 0 };
        uint64_t uses = 0;

        policy_used(&r, &uses);
        others(&uses, 999);
        policy_used(&r, &uses);
        others(&uses, 40);
        policy_missed(&h, &r, uses, 319);
        assert_int_equal(policy_away(&r, &h, uses), 960);
        policy_missed(&h, &r, uses, 320);
        assert_int_equal(policy_away(&r, &h, uses), 50);
        for (unsigned i = 0; i < 300; i++)
                policy_left(&h);
        assert_int_equal(policy_away(&r, &h, uses), 960);
        for (unsigned i = 0; i < 10000; i++)
                policy_left(&h);
        assert_true(h.grace < 256);
}

/* A gap of any length is kept to a part in 512, and 2^36 is 0 again. */
static void test_far(void **state) {
        for (uint64_t gap = 9; gap < 1ull << 35; gap += gap / 3) {
                struct policy_reuse r = { 0 };
                uint64_t uses = 0, away;

                policy_used(&r, &uses);
                others(&uses, gap - 1);
                policy_used(&r, &uses);
                away = policy_away(&r, &calm, uses);
                assert_true(away <= gap && away >= gap - gap / 512 - 1);
        }
        for (uint64_t uses = (1ull << 36) - 2; uses < (1ull << 36) + 2; uses++) {
                struct policy_reuse r = { 0 };
                uint64_t at = uses;

                policy_used(&r, &at);
                assert_int_not_equal(r.last, 0);
                others(&at, 100);
                assert_int_equal(policy_away(&r, &calm, at), 100);
        }
}

/* Where nothing is left to be staked, what LRU has let go goes before what it has, and that as LRU would. */
static void test_bound(void **state) {
        struct policy_haste bound = { 0 };
        struct policy_reuse old = { 0 }, soon = { 0 }, late = { 0 };
        uint64_t uses = 0;

        policy_used(&old, &uses);
        others(&uses, 98);
        policy_used(&soon, &uses);
        others(&uses, 49);
        policy_used(&soon, &uses);
        policy_used(&late, &uses);
        others(&uses, 9);
        bound.held = uses - 150;
        assert_int_equal(policy_away(&old, &bound, uses), 10 + 159);
        assert_int_equal(policy_away(&soon, &bound, uses), 10 + 40);
        assert_int_equal(policy_away(&late, &bound, uses), 9);
        bound.held = uses;
        assert_int_equal(policy_away(&soon, &bound, uses), 10);
        assert_int_equal(policy_away(&old, &bound, uses), 159);
}

static void test_spare(void **state) {
        struct policy_advice none = { 0 }, here = { .preferred = 3 };

        assert_int_equal(policy_spare(&none, 2, false, 100), 100);
        assert_int_equal(policy_spare(&none, 2, true, 100), 200);
        assert_int_equal(policy_spare(&here, 2, false, 100), 25);
        assert_int_equal(policy_spare(&here, 1, false, 100), 400);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_unknown), cmocka_unit_test(test_period), cmocka_unit_test(test_dead),
                cmocka_unit_test(test_same),    cmocka_unit_test(test_row),    cmocka_unit_test(test_brought),
                cmocka_unit_test(test_haste),   cmocka_unit_test(test_far),    cmocka_unit_test(test_spare),
                cmocka_unit_test(test_bound),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
