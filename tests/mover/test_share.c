/*
 * What sessions may do with a range that they have: share it, read it only, leave parts or all of it, die.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "mover/userfault.h"
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

static void test_readonly(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 8), 1);
        world_session(w, 1);
        assert_int_equal(world_join(w, 1, true), 0);
        for (unsigned round = 1; round < 5; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, 8 * 65536, round);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8 * 65536, round), 0);
                assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8 * 65536, round), 0);
                assert_int_equal(world_migrate(w, 0, 0, FAR), 0);
        }
}

/* Nobody is left who could pay when the reader comes. */
static void test_reader_alone(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 8), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 8 * 65536, 3);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        mover_session_end(w->m, w->s[0]);
        world_session(w, 1);
        assert_int_equal(world_join(w, 1, true), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8 * 65536, 3), 0);
        world_session(w, 2);
        assert_int_equal(world_join(w, 2, false), 0);
        assert_int_equal(client_ask(w, 2, CLIENT_CHECK, w->base, 8 * 65536, 3), 0);
}

/* A part of the mapping goes in one session. The others have all of it, and that one has the rest. */
static void part(struct world *w, uint64_t hole, uint64_t hole_size) {
        uint64_t all = 4 * 65536;

        world_share(w, size(65536, 4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 5);
        client_ask(w, 0, CLIENT_UNMAP, w->base + hole, hole_size, 0);
        for (unsigned round = 0; round < 3; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, hole, 6 + round);
                client_ask(w, 0, CLIENT_FILL, w->base + hole + hole_size, all - hole - hole_size, 6 + round);
                assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
                assert_int_equal(world_memory(w), 0);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, hole, 6 + round), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, hole, 6 + round), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + hole, hole_size, 5), 0);
                assert_int_equal(
                        client_ask(w, 0, CLIENT_CHECK, w->base + hole + hole_size, all - hole - hole_size, 6 + round),
                        0);
        }
        assert_int_equal(w->lost, 0);
}

static void test_hole_in_granule(void **state) {
        part(*state, 65536 + 3 * 4096, 5 * 4096);
}

static void test_hole_of_granules(void **state) {
        part(*state, 65536, 65536);
}

static void test_hole_over_two(void **state) {
        part(*state, 65536 - 4096, 2 * 4096);
}

/* Changes of access split the mapping. */
static void test_split(void **state) {
        struct world *w = *state;
        uint64_t all = 4 * 65536;

        world_share(w, size(65536, 4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 1);
        for (unsigned i = 0; i < 8; i++)
                client_ask(w, 0, CLIENT_OPEN, w->base + i * 8 * 4096, 4096, i % 2 ? PROT_NONE : PROT_READ);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(world_memory(w), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4096, 1), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 4096, 7 * 4096, 1), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, all, 1), 0);
        client_ask(w, 0, CLIENT_OPEN, w->base, all, PROT_READ | PROT_WRITE);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, all, 1), 0);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 2);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, all, 2), 0);
}

static void test_leave_and_join(void **state) {
        struct world *w = *state;
        uint64_t all = 16 * 65536;

        world_share(w, size(65536, 16), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 1);
        for (unsigned round = 1; round < 30; round++) {
                unsigned who = round % 2;

                client_ask(w, who, CLIENT_UNMAP, w->base, all, 0);
                if (round % 3)
                        mover_leave(w->m, w->s[who], w->r);
                mover_migrate(w->m, w->r, 0, w->count, round % 2 ? NEAR : FAR, MANAGED_BY_REQUEST, ++w->token);
                assert_int_equal(world_answer(w, w->token), 0);
                assert_int_equal(world_join(w, who, false), 0);
                assert_int_equal(client_ask(w, who, CLIENT_CHECK, w->base, all, round), 0);
                client_ask(w, !who, CLIENT_FILL, w->base, all, round + 1);
        }
        assert_int_equal(w->lost, 0);
}

static void test_remap(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        client_ask(w, 1, CLIENT_REMAP, w->base, 4 * 65536, w->base + 64 * MIB);
        world_idle(w);
        assert_int_equal(w->lost, 1);
        assert_non_null(strstr(w->lost_why, "mremap"));
        mover_session_end(w->m, w->s[1]);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 1), 0);
}

/* What a client throws away itself reads as zero, and is no fault of anybody's. */
static void test_client_punches(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        client_ask(w, 0, CLIENT_ADVISE, w->base, 65536, MADV_DONTNEED);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 1), 0);
        client_ask(w, 0, CLIENT_ADVISE, w->base, 4096, MADV_REMOVE);
        client_ask(w, 1, CLIENT_PUNCH, w->base + 4096, 4096, 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8192, 0), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 8192, 0), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 8192, 4 * 65536 - 8192, 1), 0);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 8192, 0), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + 8192, 4 * 65536 - 8192, 1), 0);
}

/* A process dies in the middle: of it nothing is heard but that it is gone. */
static void test_killed(void **state) {
        struct world *w = *state;
        uint64_t all = 64 * 65536;
        struct deadline d = world_deadline();

        world_share(w, size(65536, 64), 3);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 1);
        client_ask(w, 2, CLIENT_CHECK, w->base, all, 1);
        assert_int_equal(mover_migrate(w->m, w->r, 0, 64, NEAR, MANAGED_BY_REQUEST, ++w->token), 0);
        client_tell(w, 1, CLIENT_CHECK, w->base, all, 1);
        client_kill(&w->client[2]);
        client_kill(&w->client[1]);
        assert_int_equal(world_answer(w, w->token), 0);
        for (unsigned i = 0; w->lost < 2; i++) {
                assert_int_equal(world_migrate(w, 0, 0, i % 2 ? NEAR : HOST), 0);
                world_check_deadline(&d, "the loss of two sessions");
        }
        assert_non_null(strstr(w->lost_why, "ended"));
        mover_session_end(w->m, w->s[1]);
        mover_session_end(w->m, w->s[2]);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, all, 1), 0);
}

static void test_join_refused(void **state) {
        struct world *w = *state;

        world_range(w, size(65536, 4));
        world_session(w, 0);
        assert_int_equal(mover_join(w->m, w->s[0], w->r, false, ++w->token), 0);
        assert_true(world_answer(w, w->token) < 0);
        assert_non_null(strstr(w->why, "map"));
        client_ask(w, 0, CLIENT_MAP, w->base, 4 * 65536, 1); /* memory, but not the range's */
        assert_int_equal(mover_join(w->m, w->s[0], w->r, false, ++w->token), 0);
        assert_true(world_answer(w, w->token) < 0);
        assert_non_null(strstr(w->why, "map"));
        assert_int_equal(world_join(w, 0, false), 0);
        assert_int_equal(mover_join(w->m, w->s[0], w->r, false, ++w->token), -EEXIST);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 0), 0);
}

static void test_session_refused(void **state) {
        struct world *w = *state;
        struct mover_session *s;
        int fd = userfault_new(), pair[2];

        assert_int_equal(pipe(pair), 0);
        assert_int_equal(mover_session_new(w->m, &s, w, pair[0], false, 0), -EINVAL);
        assert_int_equal(mover_session_new(w->m, &s, w, -1, false, 0), -EINVAL);
        assert_int_equal(userfault_api(fd, 0, NULL), 0);
        close(fd);
        fd = userfault_new();
        assert_int_equal(userfault_api(fd, userfault_needs(), NULL), 0);
        assert_int_equal(mover_session_new(w->m, &s, w, fd, false, 0), -EINVAL);
        assert_int_equal(mover_session_new(w->m, &s, w, fd, true, 0), 0);
        assert_true(userfault_is(fd));
        mover_session_end(w->m, s);
        world_idle(w);
        while (userfault_is(fd)) /* closed by a worker */
                world_pump(w, 1);
        close(pair[0]);
        close(pair[1]);
}

/* Its userfaultfd is the client's too, who makes it blocking. */
static void test_blocking(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 16), 2);
        client_ask(w, 0, CLIENT_BLOCKING, 0, 0, 0);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 16 * 65536, 1), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 16 * 65536, 1), 0);
}

/* Sessions end and come while everything moves, and the range ends last. */
static void test_end(void **state) {
        struct world *w = *state;

        world_share(w, size(4096, 512), 3);
        client_ask(w, 0, CLIENT_FILL, w->base, 512 * 4096, 1);
        assert_int_equal(mover_migrate(w->m, w->r, 0, 512, NEAR, MANAGED_BY_REQUEST, ++w->token), 0);
        for (unsigned i = 0; i < 3; i++)
                mover_session_end(w->m, w->s[i]);
        mover_range_end(w->m, w->r, ++w->token);
        assert_int_equal(world_answer(w, w->token), 0);
        world_answer(w, w->token - 1);
        world_idle(w);
        assert_int_equal(world_node_used(w, HOST), 0);
        assert_int_equal(world_node_used(w, NEAR), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_readonly, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reader_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hole_in_granule, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hole_of_granules, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hole_over_two, setup, teardown),
                cmocka_unit_test_setup_teardown(test_split, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leave_and_join, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remap, setup, teardown),
                cmocka_unit_test_setup_teardown(test_client_punches, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_join_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_session_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_blocking, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        };

        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
