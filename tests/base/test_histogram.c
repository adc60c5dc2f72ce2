#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/histogram.h"

/* What is at a bound is in the bucket that it bounds, and one more in the next. */
static void test_bounds(void **state) {
        uint64_t bound = HISTOGRAM_FIRST_NS;

        assert_int_equal(histogram_bucket(0), 0);
        for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++, bound *= 2) {
                assert_int_equal(histogram_bucket(bound), i);
                assert_int_equal(histogram_bucket(bound + 1), i + 1);
        }
        assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static unsigned slowly(uint64_t ns) {
        uint64_t bound = HISTOGRAM_FIRST_NS;

        for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++, bound *= 2)
                if (ns <= bound)
                        return i;
        return HISTOGRAM_BUCKETS - 1;
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        uint64_t x = (given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)) | 1, sum = 0, in_buckets = 0;
        struct histogram h = { 0 };
        enum { ROUNDS = 100000 };

        printf("SVMD_SEED=%llu\n", (unsigned long long)x);
        for (unsigned i = 0; i < ROUNDS; i++) {
                uint64_t ns;

                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                ns = x >> (24 + x % 40);
                assert_int_equal(histogram_bucket(ns), slowly(ns));
                histogram_add(&h, ns);
                sum += ns;
        }
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                in_buckets += h.buckets[i];
        assert_int_equal(h.count, ROUNDS);
        assert_int_equal(h.sum_ns, sum);
        assert_int_equal(in_buckets, ROUNDS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
