/* The tree of a block, against its rule spelt out, streams through a range, and both at random. */
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

static struct policy_stream stream;
static struct policy_advice advice;
static uint32_t bytes = 4096;

static void expect(uint32_t at, uint32_t count, uint32_t first, uint32_t run) {
        struct policy_fault f = { .at = at, .count = count, .bytes = bytes, .resident = bits };
        uint32_t from = 0, n = 0;

        policy_prefetch(policy_profile_default(), &advice, &f, &stream, &from, &n);
        assert_int_equal(from, first);
        assert_int_equal(n, run);
}

/* The same where no walk is seen. */
static void expect_alone(uint32_t at, uint32_t count, uint32_t first, uint32_t run) {
        stream = (struct policy_stream){ 0 };
        expect(at, count, first, run);
}

static int setup(void **state) {
        memset(bits, 0, sizeof(bits));
        stream = (struct policy_stream){ 0 };
        advice = (struct policy_advice){ 0 };
        bytes = 4096;
        return 0;
}

static void test_leaf(void **state) {
        expect_alone(0, 512, 0, 16);
        expect_alone(100, 512, 96, 16);
        expect_alone(511, 512, 496, 16);
        expect_alone(0, 1, 0, 1);
        expect_alone(40, 43, 32, 11);
        expect_alone(1030, 4096, 1024, 16);
        bytes = 65536;
        expect_alone(5, 32, 5, 1);
        expect_alone(70, 100, 70, 1);
        bytes = 2 << 20;
        expect_alone(3, 5, 3, 1);
}

static void test_granularity(void **state) {
        advice.granularity = 4096;
        expect_alone(100, 512, 100, 1);
        expect(101, 512, 101, 1); /* one by one: neither a walk nor a full block brings more */
        expect(102, 512, 102, 1);
        fill(0, 512);
        expect(103, 512, 103, 1);
        memset(bits, 0, sizeof(bits));
        advice.granularity = 1 << 20;
        expect_alone(100, 4096, 0, 256);
        expect_alone(1000, 4096, 768, 256);
        bytes = 65536;
        expect_alone(20, 64, 16, 16);
        advice.granularity = 4096; /* a granule is moved as a whole */
        expect_alone(20, 64, 20, 1);
        advice.granularity = 8 << 20;
        expect_alone(20, 64, 0, 32);
}

/* What is there already makes more come. */
static void test_block(void **state) {
        fill(0, 16);
        expect_alone(16, 512, 0, 32);
        fill(0, 32);
        expect_alone(32, 512, 0, 64);
        fill(0, 64);
        expect_alone(64, 512, 0, 128);
        fill(0, 256);
        expect_alone(256, 512, 0, 512);
}

static void test_half_is_not_more(void **state) {
        fill(0, 16);
        expect_alone(48, 512, 48, 16);
        fill(480, 8);
        expect_alone(496, 512, 480, 32);
}

/* Each fault that goes on brings twice as much ahead, and crosses blocks, up to a block. */
static void test_stream(void **state) {
        expect(0, 4096, 0, 16);
        expect(16, 4096, 16, 32);
        expect(48, 4096, 48, 64);
        expect(112, 4096, 112, 128);
        expect(240, 4096, 240, 256);
        expect(496, 4096, 496, 512);
        expect(1008, 4096, 1008, 512);
        expect(3000, 4096, 2992, 16); /* a jump ends it */
        expect(3008, 4096, 3008, 32);
        expect(4090, 4096, 4080, 16);
        expect(10, 4096, 0, 16);
        expect(16, 40, 16, 24);
}

/* A walk may skip what is there already, but nothing goes backwards. */
static void test_stream_skips(void **state) {
        expect(0, 4096, 0, 16);
        expect(30, 4096, 16, 32);
        expect(79, 4096, 64, 64);
        expect(60, 4096, 48, 16);
        expect(48, 4096, 48, 16);
        bytes = 2 << 20;
        stream = (struct policy_stream){ 0 };
        expect(3, 9, 3, 1);
        expect(4, 9, 4, 2);
        expect(6, 9, 6, 2);
        expect(8, 9, 8, 1);
}

static uint32_t seed;

static void test_random(void **state) {
        static const uint32_t sizes[] = { 4096, 65536, 2 << 20 };

        for (unsigned round = 0; round < 20000; round++) {
                uint32_t count = 1 + (uint32_t)rand_r(&seed) % 2048, at = (uint32_t)rand_r(&seed) % count, n = 0;
                struct policy_fault f = { .at = at, .count = count, .resident = bits };
                uint32_t first = 0, leaf, block, before = stream.next;

                f.bytes = sizes[(uint32_t)rand_r(&seed) % 3];
                advice.granularity = rand_r(&seed) % 2 ? 0 : 4096u << rand_r(&seed) % 10;
                leaf = (advice.granularity ? advice.granularity : 65536) / f.bytes;
                leaf = leaf ? leaf : 1;
                block = (2 << 20) / f.bytes;
                for (unsigned i = 0; i < 8; i++)
                        bits[i] = ((uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 13) &
                                  (uint64_t)rand_r(&seed) * 0x100000001ull;
                policy_prefetch(policy_profile_default(), &advice, &f, &stream, &first, &n);
                assert_true(first <= at && at < first + n && first + n <= count && n <= 2 * block);
                assert_int_equal(stream.next, first + n);
                assert_true(n >= leaf || first + n == count);
                assert_true(first >= at - at % block);
                if (stream.length)
                        assert_true(before && at >= before);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_leaf, setup),   cmocka_unit_test_setup(test_granularity, setup),
                cmocka_unit_test_setup(test_block, setup),  cmocka_unit_test_setup(test_half_is_not_more, setup),
                cmocka_unit_test_setup(test_stream, setup), cmocka_unit_test_setup(test_stream_skips, setup),
                cmocka_unit_test_setup(test_random, setup),
        };
        const char *s = getenv("SVMD_SEED");

        seed = s ? (uint32_t)strtoul(s, NULL, 0) : (uint32_t)time(NULL);
        printf("SVMD_SEED=%u\n", seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
