/*
 * Devices and processes use the same range: what either writes, the other reads, wherever it lies and while it moves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/status.h"
#include "world.h"

#define MIB (1ull << 20)

static struct world world;

static int setup(void **state) {
        *state = &world;
        world.devices = true;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static uint64_t sum_of(uint64_t base, uint64_t size, uint64_t seed) {
        uint64_t sum = 0;

        for (uint64_t a = base; a < base + size; a += 8)
                sum += pattern(a, seed);
        return sum;
}

static void want_sum(struct world *w, uint32_t node, uint64_t size, uint64_t seed) {
        struct device_result r =
                world_op(w, node, (struct device_op){ .type = DEVICE_SUM, .src = w->base, .size = size });

        assert_int_equal(r.code, SVMD_STATUS_OK);
        assert_int_equal(r.value, sum_of(w->base, size, seed));
}

static void test_both_use_it(void **state) {
        struct world *w = *state;
        uint64_t all = 16 * 65536;

        world_share(w, size(65536, 16), 2);
        world_show(w, NEAR, true);
        for (unsigned round = 1; round < 5; round++) {
                struct device_op fill = { .type = DEVICE_FILL, .dst = w->base, .size = all, .value = round };

                client_ask(w, 0, CLIENT_FILL, w->base, all, round);
                want_sum(w, NEAR, all, round);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, all, round), 0);
                assert_int_equal(world_migrate(w, 0, 0, round % 2 ? FAR : HOST), 0);
                want_sum(w, NEAR, all, round);
                assert_int_equal(world_op(w, NEAR, fill).code, SVMD_STATUS_OK);
                assert_int_equal(client_ask(w, 0, CLIENT_LOAD, w->base + 5 * 65536, 0, 0),
                                 round * 0x0101010101010101ull);
                assert_int_equal(client_ask(w, 1, CLIENT_LOAD, w->base + all - 8, 0, 0), round * 0x0101010101010101ull);
        }
}

/* What is touched by nobody before comes as zeroes where the device is. */
static void test_first_touch(void **state) {
        struct world *w = *state;
        struct device_op add = { .type = DEVICE_ATOMIC_ADD, .dst = w->base + 65536 + 8, .value = 3 };
        struct device_op sum = { .type = DEVICE_SUM, .src = w->base, .size = 4 * 65536 };
        struct device_result r;

        world_share(w, size(65536, 4), 1);
        world_show(w, NEAR, true);
        assert_int_equal(world_op(w, NEAR, add).code, SVMD_STATUS_OK);
        r = world_op(w, NEAR, sum);
        assert_int_equal(r.code, SVMD_STATUS_OK);
        assert_int_equal(r.value, 3);
        assert_int_equal(client_ask(w, 0, CLIENT_LOAD, w->base + 65536 + 8, 0, 0), 3);
        /* In slots that were others' before, too. */
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(world_discard(w, 0, 0), 0);
        r = world_op(w, NEAR, sum);
        assert_int_equal(r.code, SVMD_STATUS_OK);
        assert_int_equal(r.value, 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 0), 0);
}

/* Without faults: what is not there is refused with what to do, and what is pinned can be used. */
static void test_without_faults(void **state) {
        struct world *w = *state;
        struct device_op sum = { .type = DEVICE_SUM, .src = w->base, .size = 4 * 65536 };
        struct device_result r;

        world_share(w, size(65536, 4), 1);
        world_show(w, FAR, true);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        r = world_op(w, FAR, sum);
        assert_int_equal(r.code, SVMD_STATUS_NOT_MAPPED);
        assert_non_null(strstr(r.text, "prefetch"));
        assert_int_equal(world_migrate(w, 0, 0, FAR), 0);
        want_sum(w, FAR, 4 * 65536, 1);
        assert_int_equal(world_pin(w, 0, 0), 0);
        want_sum(w, FAR, 4 * 65536, 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 2);
        want_sum(w, FAR, 4 * 65536, 2);
}

static void test_access(void **state) {
        struct world *w = *state;
        struct device_op fill = { .type = DEVICE_FILL, .dst = w->base, .size = 65536, .value = 1 };
        struct device_op sum = { .type = DEVICE_SUM, .src = w->base, .size = 65536 };
        struct device_result r;

        world_share(w, size(65536, 4), 1);
        world_show(w, NEAR, false);
        client_ask(w, 0, CLIENT_FILL, w->base, 65536, 1);
        want_sum(w, NEAR, 65536, 1);
        assert_int_equal(world_op(w, NEAR, fill).code, SVMD_STATUS_ACCESS);
        world_show(w, NEAR, true);
        assert_int_equal(world_op(w, NEAR, fill).code, SVMD_STATUS_OK);
        assert_int_equal(world_revoke(w, true), 0);
        r = world_op(w, NEAR, sum);
        assert_int_equal(r.code, SVMD_STATUS_ACCESS);
        assert_non_null(strstr(r.text, "revoked"));
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(world_op(w, NEAR, sum).code, SVMD_STATUS_OK);
}

/* Every addition of both devices arrives, while the words move and processes write beside them. */
static void additions(struct world *w, struct range_size s, unsigned each) {
        uint64_t all = (uint64_t)s.granule * s.count, fence[64], added[8] = { 0 };
        enum { FIRST = 4000 }; /* of the words that writers do not have */

        world_share(w, s, 2);
        world_show(w, NEAR, true);
        for (unsigned i = 0; i < 2; i++)
                client_ask(w, i, CLIENT_WRITERS, w->base, all, 2 | (uint64_t)i * 2 << 8);
        for (unsigned round = 0; round < each; round++) {
                for (unsigned i = 0; i < 64; i++) {
                        unsigned word = (round + i) % 8;
                        uint64_t at = w->base + all / 8 * word / 4096 * 4096 + FIRST;

                        added[word] += i + 1;
                        fence[i] = world_submit(
                                w, NEAR, (struct device_op){ .type = DEVICE_ATOMIC_ADD, .dst = at, .value = i + 1 });
                }
                assert_true(world_migrate(w, round % s.count, 1, round % NODES) >= 0);
                assert_true(world_migrate(w, (round * 7 + 3) % s.count, 1, (round + 1) % NODES) >= 0);
                for (unsigned i = 0; i < 64; i++)
                        assert_int_equal(world_result(w, fence[i]).code, SVMD_STATUS_OK);
        }
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(client_ask(w, i, CLIENT_QUIET, 0, 0, 0), 0);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(client_ask(w, 0, CLIENT_LOAD, w->base + all / 8 * i / 4096 * 4096 + FIRST, 0, 0),
                                 added[i]);
}

static void test_additions_small(void **state) {
        additions(*state, size(4096, 64), 60);
}

static void test_additions_medium(void **state) {
        additions(*state, size(65536, 16), 60);
}

/* It is hidden while an operation waits for it; the range ends next. */
static void test_hidden_while_waiting(void **state) {
        struct world *w = *state;
        struct device_op sum = { .type = DEVICE_SUM, .src = w->base, .size = 64 * 65536 };

        world_share(w, size(65536, 64), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 64 * 65536, 1);
        for (unsigned round = 0; round < 20; round++) {
                uint64_t fence;
                struct device_result r;

                world_show(w, NEAR, true);
                assert_int_equal(world_migrate(w, 0, 0, HOST), 0);
                fence = world_submit(w, NEAR, sum);
                usleep(round * 100);
                mover_hide(w->m, w->r, NEAR, w->space[NEAR]);
                r = world_result(w, fence);
                assert_true(r.code == SVMD_STATUS_OK || r.code == SVMD_STATUS_NOT_MAPPED);
        }
        mover_session_end(w->m, w->s[0]);
        mover_range_end(w->m, w->r, ++w->token);
        assert_int_equal(world_answer(w, w->token), 0);
        w->r = NULL;
        assert_int_equal(world_node_used(w, NEAR), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_both_use_it, setup, teardown),
                cmocka_unit_test_setup_teardown(test_first_touch, setup, teardown),
                cmocka_unit_test_setup_teardown(test_without_faults, setup, teardown),
                cmocka_unit_test_setup_teardown(test_access, setup, teardown),
                cmocka_unit_test_setup_teardown(test_additions_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_additions_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hidden_while_waiting, setup, teardown),
        };

        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
