/*
 * What the engine counts of itself: faults with the time until whoever waited may go on, moves with theirs, what went
 * from which node to which, and what left to make room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/figures.h"

enum { BYTES = 65536, HOST = 0, NEAR = 1, WORKERS = 3, COUNT = 16 };
enum { STEP_NS = 1000 }; /* that each step takes */
static const uint32_t bandwidth[2] = { 1, 1 };

static struct managed *e;
static struct managed_group *group;
static struct managed_range *range;
static struct managed_session *session;
static uint64_t now, steps;

static void on_intent(void *userdata, const struct managed_record *r) {
}

static void on_done(void *userdata, uint64_t token, int result) {
}

static void on_joined(void *userdata, void *s, void *r) {
}

static bool evict_any(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                      const uint64_t *room, uint32_t *ret_to) {
        return true;
}

static void all(void) {
        const struct managed_step *s;

        for (; (s = managed_take(e)); steps++)
                managed_complete(e, s, 0, now += STEP_NS);
        assert_true(managed_idle(e));
}

static int setup(void **state) {
        static struct policy_profile profile;
        struct managed_config c = {
                .profile = &profile,
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = 100 * BYTES,
                .decide = { .evict = evict_any },
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        now = 1;
        profile = *policy_profile_default();
        profile.settle_us = profile.window_moves = 0;
        assert_int_equal(managed_new(&e, &c), 0);
        assert_int_equal(managed_node_add(e, true, false, (4 + WORKERS) * BYTES, 0, bandwidth), HOST);
        assert_int_equal(managed_node_add(e, false, true, (20 + WORKERS) * BYTES, 0, bandwidth), NEAR);
        assert_int_equal(managed_group_new(e, &group), 0);
        assert_int_equal(managed_range_new(e, &range, NULL, group, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(e, &session, NULL, 7), 0);
        assert_int_equal(managed_join(e, session, range, false, now), 0);
        all();
        steps = 0;
        return 0;
}

static int teardown(void **state) {
        managed_free(e);
        return 0;
}

static struct managed_figures figures(void) {
        struct managed_figures f;

        managed_figures(e, &f);
        return f;
}

static uint64_t flown(uint32_t from, uint32_t to) {
        struct managed_flown f;

        managed_flown(e, from, to, &f);
        assert_int_equal(f.bytes, f.moves * BYTES);
        return f.moves;
}

static void fault(uint32_t granule) {
        assert_int_equal(managed_fault(e, session, range, granule, true, false, now), 0);
}

/* A first touch brings nothing from anywhere. Its time is that of its steps. */
static void test_faults(void **state) {
        struct managed_traffic t;

        fault(0);
        assert_int_equal(figures().cpu_faults.count, 0);
        all();
        assert_int_equal(figures().cpu_faults.count, 1);
        assert_int_equal(figures().cpu_faults.sum_ns, steps * STEP_NS);
        assert_int_equal(figures().device_faults.count, 0);
        assert_int_equal(flown(HOST, NEAR) + flown(NEAR, HOST), 0);
        fault(1);
        fault(1); /* met the other */
        all();
        assert_int_equal(figures().cpu_faults.count, 2);
        assert_int_equal(managed_device_access(e, range, 0, NEAR, true, 5, now), 0);
        all();
        managed_device_end(e, range, 0, now);
        assert_int_equal(figures().device_faults.count, 1);
        assert_true(figures().device_faults.sum_ns >= STEP_NS);
        managed_group_traffic(group, &t);
        assert_int_equal(t.cpu_faults, 2);
        assert_int_equal(t.device_faults, 1);
        managed_node_traffic(e, NEAR, &t);
        assert_int_equal(t.device_faults, 1);
        assert_int_equal(t.cpu_faults, 0);
        assert_int_equal(t.evictions, 0);
}

static void test_moves(void **state) {
        uint64_t before;

        fault(0);
        all();
        steps = 0;
        before = now;
        assert_int_equal(managed_migrate(e, range, 0, 1, NEAR, MANAGED_BY_REQUEST, 1, now), 0);
        all();
        assert_int_equal(figures().moves[MANAGED_BY_REQUEST].count, 1);
        assert_true(figures().moves[MANAGED_BY_REQUEST].sum_ns >= STEP_NS);
        assert_true(figures().moves[MANAGED_BY_REQUEST].sum_ns <= now - before);
        assert_int_equal(flown(HOST, NEAR), 1);
        assert_int_equal(flown(NEAR, HOST), 0);
        fault(0);
        all();
        assert_int_equal(flown(NEAR, HOST), 1);
        assert_int_equal(figures().moves[MANAGED_BY_FAULT].count, 1);
}

/* More is touched than the host has room for. */
static void test_evictions(void **state) {
        struct managed_traffic of_node, of_group;

        for (uint32_t g = 0; g < COUNT; g++) {
                fault(g);
                all();
        }
        managed_node_traffic(e, HOST, &of_node);
        managed_group_traffic(group, &of_group);
        assert_true(of_node.evictions >= COUNT - 4 - WORKERS);
        assert_int_equal(of_node.evicted, of_node.evictions * BYTES);
        assert_int_equal(of_group.evictions, of_node.evictions);
        assert_int_equal(of_group.evicted, of_node.evicted);
        assert_int_equal(of_group.cpu_faults, COUNT);
        assert_int_equal(flown(HOST, NEAR), of_node.evictions);
        assert_int_equal(figures().moves[MANAGED_BY_EVICTION].count, of_node.evictions);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
                cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
                cmocka_unit_test_setup_teardown(test_evictions, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
