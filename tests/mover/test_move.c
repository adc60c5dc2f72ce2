/*
 * Granules go to a node and come back, with what several processes wrote in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define MIB (1ull << 20)

static struct world world;

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static void test_first_touch(void **state) {
        struct world *w = *state;

        world_share(w, size(4096, 64), 2);
        assert_int_equal(world_memory(w), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4096, 0), 0);
        world_idle(w);
        assert_int_equal(world_memory(w), 4096);
        assert_int_equal(world_look(w, 0).state, RESIDENCY_RESIDENT);
        assert_int_equal(world_look(w, 1).state, RESIDENCY_EMPTY);
        client_ask(w, 0, CLIENT_FILL, w->base, 64 * 4096, 7);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 64 * 4096, 7), 0);
        world_idle(w);
        assert_int_equal(world_memory(w), 64 * 4096);
        assert_int_equal(world_node_used(w, HOST), 64 * 4096);
}

static void out_and_in(struct world *w, struct range_size s) {
        uint64_t bytes = (uint64_t)s.granule * s.count;

        world_share(w, s, 3);
        client_ask(w, 0, CLIENT_FILL, w->base, bytes, 1);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, bytes, 1), 0);
        for (unsigned round = 1; round <= 4; round++) {
                uint32_t to = round % 2 ? NEAR : FAR;

                assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
                assert_int_equal(world_migrate(w, 0, 0, to), 0);
                world_idle(w);
                assert_int_equal(world_look(w, 0).state, RESIDENCY_OUT);
                assert_int_equal(world_memory(w), 0);
                assert_int_equal(world_node_used(w, to), bytes);
                assert_int_equal(client_ask(w, round % 3, CLIENT_CHECK, w->base, bytes, round), 0);
                client_ask(w, (round + 1) % 3, CLIENT_FILL, w->base, bytes, round + 1);
                assert_int_equal(client_ask(w, (round + 2) % 3, CLIENT_CHECK, w->base, bytes, round + 1), 0);
                world_idle(w);
                assert_int_equal(world_memory(w), bytes);
                assert_int_equal(world_node_used(w, to), 0);
        }
}

static void test_small(void **state) {
        out_and_in(*state, size(4096, 256));
}

static void test_medium(void **state) {
        out_and_in(*state, size(65536, 32));
}

static void test_large(void **state) {
        out_and_in(*state, size(2 << 20, 4));
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_first_touch, setup, teardown),
                cmocka_unit_test_setup_teardown(test_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        };

        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
