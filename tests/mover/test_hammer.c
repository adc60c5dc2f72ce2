/*
 * Writers in three processes, while everything that a range can be asked for is asked for at full rate: each writer
 * finds what it has left. SVMD_SEED reproduces what was asked for, SVMD_MOVES says how much of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hammer.h"

#define MIB (1ull << 20)

static struct world world;

static uint64_t moves(uint64_t otherwise) {
        const char *s = getenv("SVMD_MOVES");

        return s ? strtoull(s, NULL, 0) : otherwise;
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

/* Little room: faults and moves evict. */
static int setup_tight(void **state) {
        *state = &world;
        world_begin(&world, 4 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static void test_small(void **state) {
        hammer(*state, size(4096, 1024), moves(2000));
}

static void test_medium(void **state) {
        hammer(*state, size(65536, 64), moves(2000));
}

static void test_large(void **state) {
        hammer(*state, size(2 << 20, 8), moves(200));
}

static void test_tight(void **state) {
        hammer(*state, size(65536, 128), moves(2000));
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_large, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tight, setup_tight, teardown),
        };

        hammer_seed();
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
