/* The largest have rows of their own, "other" is what the rest has, and nothing is lost: against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "exporter/fold.h"

enum { NODES = 3, KEYS = 40 };

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static uint64_t sums[KEYS], nodes[NODES], beside;

static void add(struct fold *f) {
        uint64_t k = rnd(KEYS), node = rnd(NODES + 1), bytes = rnd(1000);
        char name[16];
        const char *key[FOLD_KEYS] = { "same", name };

        snprintf(name, sizeof(name), "%u", (unsigned)k);
        fold_add(f, key, node == NODES ? SIZE_MAX : node, bytes);
        if (node == NODES) {
                beside += bytes;
                return;
        }
        sums[k] += bytes;
        nodes[node] += bytes;
}

static int downwards(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? 1 : x > y ? -1 : 0;
}

static void check(const struct fold *f, size_t most, size_t seen) {
        uint64_t of_nodes[NODES] = { 0 }, of_beside = 0;

        assert_int_equal(f->count, seen > most ? most + 1 : seen);
        assert_int_equal(f->folded, seen > most ? seen - most : 0);
        for (size_t i = 0; i < f->count; i++) {
                uint64_t sum = 0;

                for (unsigned n = 0; n < NODES; n++) {
                        sum += f->rows[i].bytes[n];
                        of_nodes[n] += f->rows[i].bytes[n];
                }
                assert_int_equal(sum, f->rows[i].sum);
                of_beside += f->rows[i].beside;
                assert_string_equal(f->rows[i].key[0], i < most ? "same" : "other");
                if (i < most)
                        assert_int_equal(f->rows[i].sum, sums[i]);
        }
        assert_memory_equal(of_nodes, nodes, sizeof(nodes));
        assert_int_equal(of_beside, beside);
}

static void round_of(size_t most, unsigned adds) {
        struct fold f;
        size_t count;

        memset(sums, 0, sizeof(sums));
        memset(nodes, 0, sizeof(nodes));
        beside = 0;
        fold_init(&f, NODES);
        for (unsigned i = 0; i < adds; i++)
                add(&f);
        count = f.count;
        qsort(sums, KEYS, sizeof(sums[0]), downwards);
        fold_close(&f, most);
        check(&f, most, count);
        fold_free(&f);
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");

        random_state = (given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)) | 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        for (unsigned i = 0; i < 500; i++)
                round_of(rnd(KEYS + 5), (unsigned)rnd(200));
        round_of(0, 100);
        round_of(10, 0);
}

/* Without bytes of their own they may be part of "other"; keys that differ in one part only are two. */
static void test_keys(void **state) {
        const char *one[FOLD_KEYS] = { "a", "b", "c" }, *two[FOLD_KEYS] = { "a", "b", NULL };
        struct fold f;

        fold_init(&f, 1);
        fold_add(&f, one, 0, 5);
        fold_add(&f, two, 0, 6);
        fold_add(&f, one, 0, 7);
        fold_close(&f, 2);
        assert_int_equal(f.count, 2);
        assert_int_equal(f.rows[0].sum, 12);
        assert_string_equal(f.rows[0].key[2], "c");
        assert_string_equal(f.rows[1].key[2], "");
        fold_free(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_keys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
