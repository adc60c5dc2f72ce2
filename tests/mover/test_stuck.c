/*
 * A step that does not come back from a client's address space keeps one worker, and that client waiting: nobody else.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "world.h"

#define MIB (1ull << 20)

static struct world world;

static struct {
        pthread_mutex_t lock;
        pthread_cond_t let_go;
        int uffd[CLIENTS]; /* whose address spaces do not let go */
        unsigned caught, calls;
} trap = { .lock = PTHREAD_MUTEX_INITIALIZER, .let_go = PTHREAD_COND_INITIALIZER, .uffd = { -1, -1, -1, -1 } };

static atomic_uint slow_us; /* each step of everyone takes so long */

static bool is_caught(int uffd) {
        for (unsigned i = 0; i < CLIENTS; i++)
                if (trap.uffd[i] == uffd)
                        return true;
        return false;
}

int __real_userfault_protect(int fd, uint64_t start, uint64_t size);
int __wrap_userfault_protect(int fd, uint64_t start, uint64_t size);
int __wrap_userfault_protect(int fd, uint64_t start, uint64_t size) {
        pthread_mutex_lock(&trap.lock);
        trap.calls++;
        trap.caught += is_caught(fd);
        while (is_caught(fd))
                pthread_cond_wait(&trap.let_go, &trap.lock);
        pthread_mutex_unlock(&trap.lock);
        usleep(slow_us);
        return __real_userfault_protect(fd, start, size);
}

static void set_trap(struct world *w, unsigned client, bool on) {
        pthread_mutex_lock(&trap.lock);
        trap.uffd[client] = on ? mover_session_uffd(w->s[client]) : -1;
        trap.caught = on ? trap.caught : 0;
        pthread_cond_broadcast(&trap.let_go);
        pthread_mutex_unlock(&trap.lock);
}

static unsigned caught(void) {
        unsigned n;

        pthread_mutex_lock(&trap.lock);
        n = trap.caught;
        pthread_mutex_unlock(&trap.lock);
        return n;
}

static void wait_caught(struct world *w, unsigned n) {
        struct deadline d = world_deadline();

        while (caught() < n) {
                world_pump(w, 1);
                world_check_deadline(&d, "workers in the trap");
        }
}

static int setup(void **state) {
        *state = &world;
        world.workers = 2;
        world.stuck_ns = world.held_ns = 0;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        for (unsigned i = 0; i < CLIENTS; i++)
                trap.uffd[i] = -1;
        pthread_cond_broadcast(&trap.let_go);
        world_end(*state);
        return 0;
}

/* Every other granule: what lies side by side is one step. Returns the first token. */
static uint64_t migrate_some(struct world *w, struct mover_range *r) {
        uint64_t first = w->token + 1;

        for (uint32_t i = 0; i < 16; i += 2)
                assert_int_equal(mover_migrate(w->m, r, i, 1, NEAR, MANAGED_BY_REQUEST, ++w->token), 0);
        return first;
}

static void wait_answers(struct world *w, uint64_t first) {
        for (uint64_t token = first; token < first + 8; token++)
                assert_int_equal(world_answer(w, token), 0);
}

/* A range of its own for each of two processes: one is stuck with all the steps that it may have, the other is not. */
static void test_others_go_on(void **state) {
        struct world *w = *state;
        struct mover_range *stuck;
        uint64_t token, base = w->base;

        world_share(w, size(65536, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        stuck = w->r;
        set_trap(w, 0, true);
        token = migrate_some(w, stuck);
        wait_caught(w, 3);
        w->base += 32 * MIB;
        world_range(w, size(65536, 16));
        world_session(w, 1);
        assert_int_equal(world_join(w, 1, false), 0);
        for (unsigned i = 1; i < 20; i++) {
                client_ask(w, 1, CLIENT_FILL, w->base, 16 * 65536, i);
                assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 16 * 65536, i), 0);
        }
        assert_false(world_answered(w, token));
        assert_int_equal(caught(), 3);
        set_trap(w, 0, false);
        wait_answers(w, token);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, base, 16 * 65536, 1), 0);
}

/* Moves that nobody waits for never take the last worker: without the watchdog's help, too, a touch is served. */
static void test_one_stays_free(void **state) {
        struct world *w = *state;
        struct mover_range *stuck;
        uint64_t token;

        world_end(w);
        w->workers = 3;
        w->stuck_ns = 3600ull * 1000000000;
        world_begin(w, 64 * MIB);
        world_share(w, size(65536, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        stuck = w->r;
        w->base += 32 * MIB;
        world_range(w, size(65536, 16));
        world_session(w, 1);
        assert_int_equal(world_join(w, 1, false), 0);
        set_trap(w, 0, true);
        token = migrate_some(w, stuck);
        wait_caught(w, 2);
        for (unsigned i = 1; i < 10; i++)
                world_pump(w, 10);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 16 * 65536, 0), 0);
        set_trap(w, 0, false);
        wait_answers(w, token);
        w->stuck_ns = 0;
}

/* Sessions end, also those in which somebody is stuck, and so does the range. */
static void test_end_while_stuck(void **state) {
        struct world *w = *state;
        uint64_t token;

        world_share(w, size(65536, 16), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        set_trap(w, 0, true);
        assert_int_equal(mover_migrate(w->m, w->r, 0, 16, NEAR, MANAGED_BY_REQUEST, ++w->token), 0);
        wait_caught(w, 1);
        mover_session_end(w->m, w->s[0]);
        mover_session_end(w->m, w->s[1]);
        mover_range_end(w->m, w->r, token = ++w->token);
        for (unsigned i = 0; i < 10; i++)
                world_pump(w, 5);
        assert_false(world_answered(w, token));
        set_trap(w, 0, false);
        assert_int_equal(world_answer(w, token), 0);
}

/* Neighbours are protected by one call, up to the size of the largest granule. Who is early among the workers may take
 * some of them by themselves. */
static void test_neighbours_go_together(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 64), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 64 * 65536, 1);
        trap.calls = 0;
        assert_int_equal(world_migrate(w, 0, 64, NEAR), 0);
        assert_in_range(trap.calls, 2, 16);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 64 * 65536, 1), 0);
}

/* ---- revocations ---- */

enum { MS = 1000000 };

static void begin_hasty(struct world *w, unsigned stuck_ms, unsigned held_ms) {
        struct range_size s = size(2 << 20, 16);

        world_end(w);
        w->stuck_ns = (uint64_t)stuck_ms * MS;
        w->held_ns = (uint64_t)held_ms * MS;
        world_begin(w, 64 * MIB);
        world_share(w, s, 1);
        client_ask(w, 0, CLIENT_FILL, w->base, (uint64_t)s.granule * s.count, 1);
}

static void wait_lost(struct world *w) {
        struct deadline d = world_deadline();

        while (!w->lost) {
                world_pump(w, 1);
                world_check_deadline(&d, "a session that is told of");
        }
        assert_int_equal(w->lost, 1);
        assert_true(w->lost_kill);
        assert_non_null(strstr(w->lost_why, "revocation"));
}

static void pump_for(struct world *w, unsigned ms) {
        for (unsigned i = 0; i < ms; i++)
                world_pump(w, 1);
}

/* Whoever holds up a revocation is told of, and whoever holds up a move is not. */
static void test_revocation_is_held_up(void **state) {
        struct world *w = *state;
        uint64_t moved, revoked;

        begin_hasty(w, 1, 200);
        set_trap(w, 0, true);
        moved = ++w->token;
        assert_int_equal(mover_migrate(w->m, w->r, 0, 1, NEAR, MANAGED_BY_REQUEST, moved), 0);
        wait_caught(w, 1);
        pump_for(w, 400);
        assert_int_equal(w->lost, 0);
        revoked = ++w->token;
        assert_int_equal(mover_revoke(w->m, w->r, revoked), 0);
        wait_lost(w);
        mover_session_end(w->m, w->s[0]);
        assert_false(world_answered(w, revoked));
        set_trap(w, 0, false);
        assert_int_equal(world_answer(w, revoked), 0);
        world_answer(w, moved);
}

/* No step is stuck for long, but all of them together are. */
static void test_revocation_is_slowed_down(void **state) {
        struct world *w = *state;
        uint64_t token;

        begin_hasty(w, 1, 200);
        slow_us = 100 * 1000;
        token = ++w->token;
        assert_int_equal(mover_revoke(w->m, w->r, token), 0);
        wait_lost(w);
        slow_us = 0;
        mover_session_end(w->m, w->s[0]);
        assert_int_equal(world_answer(w, token), 0);
}

/* What takes its time on a busy machine is nobody's fault. */
static void test_revocation_takes_its_time(void **state) {
        struct world *w = *state;

        begin_hasty(w, 20, 300);
        slow_us = 40 * 1000;
        assert_int_equal(world_revoke(w, true), 0);
        slow_us = 0;
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(w->lost, 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 16ull << 21, 1), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_others_go_on, setup, teardown),
                cmocka_unit_test_setup_teardown(test_one_stays_free, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end_while_stuck, setup, teardown),
                cmocka_unit_test_setup_teardown(test_neighbours_go_together, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revocation_is_held_up, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revocation_is_slowed_down, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revocation_takes_its_time, setup, teardown),
        };

        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
