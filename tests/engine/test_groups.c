/*
 * Groups: limits hold, a group makes room among its own granules, and what waits for a limit keeps nobody else waiting.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/managed.h"

enum { BYTES = 65536, HOST = 0, NEAR = 1, WORKERS = 3, COUNT = 16 };
static const uint32_t bandwidth[2] = { 1, 1 };

struct world {
        struct managed *e;
        struct managed_group *group;
        struct managed_range *range, *other; /* other: of no group */
        struct managed_session *session;
        struct managed_record last[2][COUNT];
        int answer;
};

static void on_intent(void *userdata, const struct managed_record *r) {
        ((struct managed_record *)r->range)[r->granule] = *r;
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static bool evict_any(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                      const uint64_t *room, uint32_t *ret_to) {
        return true;
}

static void limit(struct world *w, uint32_t node, uint64_t granules) {
        managed_group_limit(w->e, w->group, node, granules * BYTES, 1);
}

static void start(struct world *w) {
        static struct policy_profile profile;
        struct managed_config c = {
                .profile = &profile,
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = 100 * BYTES,
                .decide = { .evict = evict_any },
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        memset(w, 0, sizeof(*w));
        profile = *policy_profile_default();
        profile.settle_us = profile.window_moves = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        assert_int_equal(managed_node_add(w->e, true, false, (20 + WORKERS) * BYTES, 0, bandwidth), HOST);
        assert_int_equal(managed_node_add(w->e, false, true, (20 + WORKERS) * BYTES, 0, bandwidth), NEAR);
        assert_int_equal(managed_group_new(w->e, &w->group), 0);
        assert_int_equal(managed_range_new(w->e, &w->range, w->last[0], w->group, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_range_new(w->e, &w->other, w->last[1], NULL, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, 1), 0);
        assert_int_equal(managed_join(w->e, w->session, w->other, false, 1), 0);
        limit(w, HOST, 2);
        limit(w, NEAR, 3);
}

static struct world world;

static int setup(void **state) {
        start(&world);
        *state = &world;
        return 0;
}

static int teardown(void **state) {
        managed_free(world.e);
        return 0;
}

static uint64_t used(struct world *w, uint32_t node) {
        uint64_t bytes = 0;

        managed_group_used(w->group, node, &bytes, NULL);
        return bytes / BYTES;
}

/* At every step no more is above a limit than workers hold. */
static void all(struct world *w, uint64_t host, uint64_t near) {
        const struct managed_step *s;

        while ((s = managed_take(w->e))) {
                managed_complete(w->e, s, 0, 1);
                assert_int_equal(managed_check(w->e), 0);
                assert_true(used(w, HOST) <= host + WORKERS && used(w, NEAR) <= near + WORKERS);
        }
        assert_true(managed_idle(w->e));
}

static void fault(struct world *w, struct managed_range *r, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, w->session, r, granule, true, false, 1), 0);
}

static void touch(struct world *w, uint32_t first, uint32_t count) {
        for (uint32_t g = first; g < first + count; g++) {
                fault(w, w->range, g);
                all(w, 2, 3);
        }
}

static void test_own_granules_leave(void **state) {
        struct world *w = *state;
        uint64_t peak;

        for (uint32_t g = 0; g < COUNT; g++) {
                fault(w, w->other, g);
                all(w, 2, 3);
        }
        touch(w, 0, 5);
        assert_int_equal(used(w, HOST), 2);
        assert_int_equal(used(w, NEAR), 3);
        for (uint32_t g = 0; g < COUNT; g++)
                assert_int_equal(w->last[1][g].state, RESIDENCY_RESIDENT);
        managed_group_used(w->group, HOST, NULL, &peak);
        assert_true(peak > 2 * BYTES && peak <= (2 + WORKERS) * BYTES);
}

/* With every node of the group full, and many touches at once, each is served. */
static void test_swap(void **state) {
        struct world *w = *state;

        touch(w, 0, 5);
        for (uint32_t round = 0; round < 4; round++) {
                for (uint32_t g = 0; g < 5; g++)
                        fault(w, w->range, g);
                all(w, 2, 3);
                assert_int_equal(used(w, HOST), 2);
                assert_int_equal(used(w, NEAR), 3);
        }
        touch(w, 0, 5);
        assert_int_equal(w->last[0][4].state, RESIDENCY_RESIDENT);
}

/* More was touched than the group may have: it waits, and others do not. */
static void test_waits_alone(void **state) {
        struct world *w = *state;
        struct managed_node_info host;

        touch(w, 0, COUNT);
        managed_node_info(w->e, HOST, &host);
        assert_true(host.waiting > 0);
        fault(w, w->other, 3);
        all(w, 2, 3);
        assert_int_equal(w->last[1][3].state, RESIDENCY_RESIDENT);
        managed_node_info(w->e, HOST, &host);
        managed_node_capacity(w->e, HOST, host.used, 1); /* now others wait too, for the node */
        fault(w, w->other, 4);
        all(w, 2, 3);
        assert_int_not_equal(w->last[1][4].state, RESIDENCY_EMPTY);
        managed_node_capacity(w->e, HOST, 30 * BYTES, 1);
        limit(w, NEAR, COUNT);
        all(w, 2, COUNT);
        managed_node_info(w->e, HOST, &host);
        assert_int_equal(host.waiting, 0);
        assert_int_equal(used(w, HOST), 2);
        assert_int_equal(used(w, NEAR), COUNT - 2);
}

static void fill(struct world *w, uint64_t each) {
        limit(w, HOST, each);
        limit(w, NEAR, each);
        for (uint32_t g = 0; g < 2 * each; g++)
                fault(w, w->range, g);
        all(w, each, each);
        assert_int_equal(used(w, HOST), each);
        assert_int_equal(used(w, NEAR), each);
}

/* What has a place elsewhere leaves. Then nothing has, and a swap goes on. */
static void test_limit_lowered(void **state) {
        struct world *w = *state;

        fill(w, 6);
        limit(w, NEAR, 8);
        limit(w, HOST, 4);
        all(w, 6, 8);
        assert_int_equal(used(w, HOST), 4);
        limit(w, HOST, 1);
        limit(w, NEAR, 1);
        all(w, 4, 8);
        for (uint32_t g = 0; g < 12; g++) {
                fault(w, w->range, g);
                all(w, 4, 8);
                assert_int_equal(w->last[0][g].state, RESIDENCY_RESIDENT);
        }
        limit(w, NEAR, UINT64_MAX / BYTES);
        all(w, 4, COUNT);
        assert_int_equal(used(w, HOST), 1);
}

/* With a limit of 0 a node is no place, whoever asks. */
static void test_no_place(void **state) {
        struct world *w = *state;

        limit(w, HOST, 8);
        fault(w, w->range, 0);
        all(w, 8, 3);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w, 8, 3);
        assert_int_equal(used(w, NEAR), 1);
        limit(w, NEAR, 0);
        all(w, 8, 0);
        assert_int_equal(used(w, NEAR), 0);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        assert_int_equal(w->answer, MANAGED_E_FULL);
        assert_int_equal(managed_evict(w->e, w->range, 0, 1, 1, 1), 0);
        assert_int_equal(w->answer, MANAGED_E_FULL);
        for (uint32_t g = 0; g < 2; g++) { /* resident, and never touched */
                w->answer = 99;
                assert_int_equal(managed_device_access(w->e, w->range, g, NEAR, true, 1, 1), 0);
                all(w, 8, 0);
                assert_int_equal(w->answer, 0);
                assert_int_equal(w->last[0][g].state, RESIDENCY_RESIDENT);
                managed_device_end(w->e, w->range, g, 1);
        }
        limit(w, HOST, 0);
        all(w, 2, 0);
        fault(w, w->range, 5);
        all(w, 2, 0);
        assert_int_not_equal(w->last[0][5].state, RESIDENCY_RESIDENT);
        limit(w, HOST, 3);
        all(w, 3, 0);
        assert_int_equal(w->last[0][5].state, RESIDENCY_RESIDENT);
        assert_int_equal(managed_revoke(w->e, w->range, 1, 1), 0);
        assert_int_equal(w->answer, MANAGED_E_FULL);
}

/* Who waits on a node that is no place any more goes elsewhere. */
static void test_no_place_any_more(void **state) {
        struct world *w = *state;

        limit(w, HOST, 1);
        limit(w, NEAR, 1);
        touch(w, 0, 2);
        assert_int_equal(managed_device_access(w->e, w->range, 2, NEAR, true, 1, 1), 0);
        all(w, 1, 1);
        touch(w, 3, 5);
        assert_int_equal(managed_device_access(w->e, w->range, 9, NEAR, true, 1, 1), 0);
        assert_int_equal(w->last[0][9].state, RESIDENCY_EMPTY);
        limit(w, HOST, COUNT);
        w->answer = 99;
        limit(w, NEAR, 0);
        all(w, COUNT, 1);
        assert_int_equal(w->answer, 0);
        assert_int_equal(w->last[0][9].state, RESIDENCY_RESIDENT);
}

static void test_pins(void **state) {
        struct world *w = *state;

        touch(w, 0, 5);
        assert_int_equal(managed_pin(w->e, w->range, 0, 2, 0, 1), MANAGED_E_FULL);
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 0, 1), 0);
        assert_int_equal(managed_pin(w->e, w->other, 0, 4, 0, 1), 0);
        all(w, 2, 3);
        touch(w, 1, 4);
        assert_int_equal(w->last[0][0].state, RESIDENCY_RESIDENT);
        managed_unpin(w->e, w->range, 0, 1, 1);
        assert_int_equal(managed_pin(w->e, w->range, 1, 1, 0, 1), 0);
        all(w, 2, 3);
}

static void test_end(void **state) {
        struct world *w = *state;

        touch(w, 0, COUNT);
        managed_range_end(w->e, w->range, 1, 1);
        all(w, 2, 3);
        assert_int_equal(used(w, HOST), 0);
        assert_int_equal(used(w, NEAR), 0);
        managed_group_free(w->e, w->group);
        assert_int_equal(managed_check(w->e), 0);
        assert_int_equal(managed_group_new(w->e, &w->group), 0);
}

static void test_restart(void **state) {
        struct world *w = *state;
        struct managed_record before[COUNT];

        touch(w, 0, 5);
        memcpy(before, w->last[0], sizeof(before));
        managed_free(w->e);
        start(w);
        managed_session_end(w->e, w->session, 1);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        for (uint32_t g = 0; g < 5; g++)
                assert_int_equal(managed_restore(w->e, w->range, &before[g]), 0);
        assert_int_equal(managed_rejoin(w->e, w->session, w->range, false), 0);
        assert_int_equal(managed_pin(w->e, w->range, 0, 5, 0, 1), 0); /* was granted before */
        assert_int_equal(managed_restored(w->e, 1), 0);
        all(w, 5, 3);
        assert_int_equal(used(w, HOST) + used(w, NEAR), 5);
        managed_unpin(w->e, w->range, 0, 5, 1);
        all(w, 5, 3);
        assert_int_equal(used(w, HOST), 2);
        assert_int_equal(used(w, NEAR), 3);
}

/* Limits were lowered before the restart, and nothing has a place elsewhere: a swap goes on. */
static void test_restart_above(void **state) {
        struct world *w = *state;
        struct managed_record before[COUNT];

        fill(w, 6);
        memcpy(before, w->last[0], sizeof(before));
        managed_free(w->e);
        start(w);
        memcpy(w->last[0], before, sizeof(before));
        limit(w, HOST, 3);
        limit(w, NEAR, 1);
        for (uint32_t g = 0; g < 12; g++)
                assert_int_equal(managed_restore(w->e, w->range, &before[g]), 0);
        assert_int_equal(managed_restored(w->e, 1), 0);
        all(w, 6, 6);
        for (uint32_t round = 0; round < 3; round++)
                for (uint32_t g = 0; g < 12; g++) {
                        fault(w, w->range, g);
                        all(w, 6, 6);
                        assert_int_equal(w->last[0][g].state, RESIDENCY_RESIDENT);
                }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_own_granules_leave),
                T(test_swap),
                T(test_waits_alone),
                T(test_limit_lowered),
                T(test_no_place),
                T(test_pins),
                T(test_end),
                T(test_restart),
                T(test_restart_above),
                T(test_no_place_any_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
