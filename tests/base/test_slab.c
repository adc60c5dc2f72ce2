#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/slab.h"

enum { SIZE = 184, BLOCK_BYTES = 2 << 20, PER_BLOCK = (BLOCK_BYTES - 64) / SIZE, MANY = 5 * PER_BLOCK };

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static int seed(void **state) {
        const char *given = getenv("SVMD_SEED");

        random_state = (given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)) | 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return 0;
}

static void check_zero(const unsigned char *p) {
        for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(p[i], 0);
}

static void check_filled(const unsigned char *p, unsigned char with) {
        for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(p[i], with);
}

/* Whatever is taken and put back, an object is zeroed when it comes, and nobody else writes to it until it goes. */
static void test_random(void **state) {
        static unsigned char *object[MANY], mark[MANY];
        struct slab s;

        slab_init(&s, SIZE);
        for (int turn = 0; turn < 20; turn++) {
                /* Phases that grow and phases that shrink, so that blocks fill up and empty. */
                unsigned keep = (unsigned)rnd(10);

                for (int i = 0; i < MANY / 2; i++) {
                        size_t at = rnd(MANY);

                        if (object[at]) {
                                check_filled(object[at], mark[at]);
                                slab_put(object[at]);
                                object[at] = NULL;
                        }
                        if (rnd(10) >= keep)
                                continue;
                        object[at] = slab_take(&s);
                        assert_non_null(object[at]);
                        assert_int_equal((uintptr_t)object[at] % 8, 0);
                        check_zero(object[at]);
                        mark[at] = (unsigned char)rnd(256);
                        memset(object[at], mark[at], SIZE);
                }
        }
        for (size_t i = 0; i < MANY; i++) {
                if (object[i])
                        check_filled(object[i], mark[i]);
                slab_put(object[i]);
        }
        assert_true(s.blocks <= 1);
        slab_fini(&s);
        assert_int_equal(s.blocks, 0);
}

/* Objects fill blocks before there is a new one, and blocks go when they are empty, but for one. */
static void test_blocks(void **state) {
        static void *object[3 * PER_BLOCK];
        struct slab s;

        slab_init(&s, SIZE);
        for (int i = 0; i < 3 * PER_BLOCK; i++) {
                object[i] = slab_take(&s);
                assert_int_equal(s.blocks, i / PER_BLOCK + 1);
        }
        for (int i = 0; i < PER_BLOCK; i++)
                slab_put(object[i]);
        assert_int_equal(s.blocks, 3);
        for (int i = PER_BLOCK; i < 2 * PER_BLOCK; i++)
                slab_put(object[i]);
        assert_int_equal(s.blocks, 2);
        /* The one that has objects is filled up first. */
        slab_put(object[2 * PER_BLOCK]);
        object[2 * PER_BLOCK] = slab_take(&s);
        assert_int_equal(s.empty, 1);
        for (int i = 2 * PER_BLOCK; i < 3 * PER_BLOCK; i++)
                slab_put(object[i]);
        assert_int_equal(s.blocks, 1);
        slab_fini(&s);
}

static void test_failure(void **state) {
        struct slab s;
        void *p;

        slab_init(&s, SIZE);
        alloc_fail_at(1);
        assert_null(slab_take(&s));
        assert_true(alloc_fail_hit());
        alloc_fail_off();
        assert_int_equal(s.blocks, 0);
        p = slab_take(&s);
        alloc_fail_at(1);
        assert_null(slab_take(&s));
        alloc_fail_off();
        slab_put(p);
        slab_put(NULL);
        slab_fini(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_blocks),
                cmocka_unit_test(test_failure),
        };

        return cmocka_run_group_tests(tests, seed, NULL);
}
