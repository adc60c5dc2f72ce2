/*
 * Allowances: hand-made courses, and random ones against a model that fills in single nanoseconds' worth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "policy/policy.h"

static const uint64_t ms = 1000 * 1000, second = 1000 * 1000 * 1000;

static void test_none(void **state) {
        struct policy_bucket b = { 0 };

        policy_bucket_take(&b, 0, 1 << 30, 5);
        assert_int_equal(policy_bucket_due(&b, 0, 7), 7);
        assert_int_equal(b.bytes, 0);
}

static void test_burst_and_debt(void **state) {
        const uint64_t rate = 1000 * 1000, now = 100 * second;
        struct policy_bucket b = { 0 };

        for (unsigned i = 0; i < 100; i++) {
                assert_int_equal(policy_bucket_due(&b, rate, now), now);
                policy_bucket_take(&b, rate, 1000, now);
        }
        assert_int_equal(policy_bucket_due(&b, rate, now), now + 1000); /* a byte */
        policy_bucket_take(&b, rate, 500 * 1000, now);                  /* could not wait */
        assert_int_equal(policy_bucket_due(&b, rate, now), now + 500 * ms + 1000);
        assert_int_equal(policy_bucket_due(&b, rate, now + 500 * ms), now + 500 * ms + 1000);
        assert_int_equal(policy_bucket_due(&b, rate, now + 501 * ms), now + 501 * ms);
}

/* What is larger than the bucket goes too, at the rate in the long run. */
static void test_large(void **state) {
        const uint64_t rate = 1 << 20, bytes = 2 << 20;
        struct policy_bucket b = { 0 };
        uint64_t now = 50 * second, began = now, moved = 0;

        while (now < began + 100 * second) {
                now = policy_bucket_due(&b, rate, now);
                policy_bucket_take(&b, rate, bytes, now);
                moved += bytes;
        }
        assert_in_range(moved, 99 * rate, 100 * rate + 2 * bytes + rate / 10);
}

static void test_extremes(void **state) {
        struct policy_bucket b = { 0 };
        uint64_t now = 1;

        policy_bucket_take(&b, INT64_MAX, 1 << 30, now);
        assert_true(policy_bucket_due(&b, INT64_MAX, UINT64_MAX / 2) == UINT64_MAX / 2);
        b = (struct policy_bucket){ 0 };
        policy_bucket_take(&b, 1, 1 << 30, now);
        assert_true(policy_bucket_due(&b, 1, now) > now + (1ull << 29) * second);
}

static void test_random(void **state) {
        for (unsigned i = 0; i < 2000; i++) {
                uint64_t rate = 1000 + (uint64_t)random() % 5000000, now = second, most = rate / 10;
                struct policy_bucket b = { 0 };
                double left = (double)most;

                for (unsigned k = 0; k < 100; k++) {
                        uint64_t after = (uint64_t)random() % (50 * ms), bytes = (uint64_t)random() % (rate / 10);
                        uint64_t due;

                        now += after;
                        left += (double)after * (double)rate / 1e9;
                        left = left > (double)most ? (double)most : left;
                        due = policy_bucket_due(&b, rate, now);
                        if (left > 110)
                                assert_int_equal(due, now);
                        if (left < -110)
                                assert_true(due > now);
                        assert_true(due == now || (double)(due - now) <= (2 + 110 - left) * 1e9 / (double)rate);
                        policy_bucket_take(&b, rate, bytes, now);
                        left -= (double)bytes;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_none),     cmocka_unit_test(test_burst_and_debt), cmocka_unit_test(test_large),
                cmocka_unit_test(test_extremes), cmocka_unit_test(test_random),
        };
        const char *s = getenv("SVMD_SEED");
        unsigned seed = s ? (unsigned)strtoul(s, NULL, 0) : (unsigned)time(NULL);

        printf("SVMD_SEED=%u\n", seed);
        srandom(seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
