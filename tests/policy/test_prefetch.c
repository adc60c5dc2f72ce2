/* The tree of a block, against its rule spelt out, and on bitmaps at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/policy.h"

static uint64_t bits[8];

static void fill(uint32_t first, uint32_t count) {
        for (uint32_t i = first; i < first + count; i++)
                bits[i / 64] |= 1ull << i % 64;
}

static int clear(void **state) {
        memset(bits, 0, sizeof(bits));
        return 0;
}

static void expect(uint32_t at, uint32_t count, uint32_t first, uint32_t run) {
        uint32_t f = 0, n = 0;

        policy_prefetch(at, count, bits, &f, &n);
        assert_int_equal(f, first);
        assert_int_equal(n, run);
}

static void test_leaf(void **state) {
        expect(0, 512, 0, 16);
        expect(100, 512, 96, 16);
        expect(511, 512, 496, 16);
        expect(5, 32, 5, 1);
        expect(0, 1, 0, 1);
        expect(40, 43, 32, 11);
}

/* A walk doubles what each fault brings. */
static void test_walk(void **state) {
        fill(0, 16);
        expect(16, 512, 0, 32);
        fill(0, 32);
        expect(32, 512, 0, 64);
        fill(0, 64);
        expect(64, 512, 0, 128);
        fill(0, 256);
        expect(256, 512, 0, 512);
}

static void test_half_is_not_more(void **state) {
        fill(0, 16);
        expect(48, 512, 48, 16);
        fill(480, 8);
        expect(496, 512, 480, 32);
}

static uint32_t seed;

static void test_random(void **state) {
        for (unsigned round = 0; round < 20000; round++) {
                uint32_t count = 1 + (uint32_t)rand_r(&seed) % 512, at = (uint32_t)rand_r(&seed) % count, f = 0, n = 0,
                         have = 0;
                uint32_t leaf = count > 32 ? 16 : 1;

                for (unsigned i = 0; i < 8; i++)
                        bits[i] = ((uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 13) &
                                  (uint64_t)rand_r(&seed) * 0x100000001ull;
                policy_prefetch(at, count, bits, &f, &n);
                assert_true(f <= at && at < f + n && f + n <= count);
                for (uint32_t i = f; i < f + n; i++)
                        have += (bits[i / 64] >> i % 64 & 1) || i / leaf == at / leaf;
                assert_true(n <= leaf || have * 2 > n);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_leaf, clear),
                cmocka_unit_test_setup(test_walk, clear),
                cmocka_unit_test_setup(test_half_is_not_more, clear),
                cmocka_unit_test(test_random),
        };
        const char *s = getenv("SVMD_SEED");

        seed = s ? (uint32_t)strtoul(s, NULL, 0) : (uint32_t)time(NULL);
        printf("SVMD_SEED=%u\n", seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
