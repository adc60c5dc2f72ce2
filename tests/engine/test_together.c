/*
 * Granules of a range that advice has given one group number move together: also when it is for room that one of them
 * leaves, and when a device takes one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/hints.h"
#include "engine/managed.h"

enum { BYTES = 65536, HOST = 0, NEAR = 1, WORKERS = 2, COUNT = 32, GROUP = 8, ROOM = 24, NUMBER = 5 };
static const uint32_t bandwidth[2] = { 1, 1 };

struct world {
        struct managed *e;
        struct managed_range *range;
        struct managed_session *session;
        enum residency state[COUNT];
        uint32_t grouped; /* granules from 0 on are of the group */
};

static void on_intent(void *userdata, const struct managed_record *r) {
        ((struct world *)r->range)->state[r->granule] = r->state;
}

static void on_done(void *userdata, uint64_t token, int result) {
}

static void on_joined(void *userdata, void *session, void *range) {
}

static void on_advice(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        const struct world *w = range;

        *ret = (struct policy_advice){ .group = granule < w->grouped ? NUMBER : 0 };
}

static uint32_t on_group(void *userdata, void *range, struct hint_walk *walk) {
        const struct world *w = range;

        assert_int_equal(walk->group, NUMBER);
        return walk->next < w->grouped ? walk->next++ : UINT32_MAX;
}

static struct world world;

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e))) {
                managed_complete(w->e, s, 0, 1);
                assert_int_equal(managed_check(w->e), 0);
        }
        assert_true(managed_idle(w->e));
}

static int setup(void **state) {
        static struct policy_profile profile;
        struct world *w = &world;
        struct managed_config c = {
                .profile = &profile,
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = COUNT * BYTES,
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
                .advice = on_advice,
                .group = on_group,
        };

        memset(w, 0, sizeof(*w));
        profile = *policy_profile_default();
        profile.settle_us = profile.window_moves = profile.lapse_us = 0;
        profile.leaf_kib = 64;
        profile.ahead_kib = 0;
        profile.dense_percent = 100;
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, (ROOM + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        assert_int_equal(managed_range_new(w->e, &w->range, w, NULL, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, 1), 0);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        managed_free(world.e);
        return 0;
}

static void touch(struct world *w, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, w->session, w->range, granule, true, false, 1), 0);
        all(w);
}

/* Of the group, or of the others. */
static uint32_t out(const struct world *w, bool grouped) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < COUNT; i++)
                n += w->state[i] == RESIDENCY_OUT && (i < GROUP) == grouped;
        return n;
}

/* One granule too many is touched: those of the group were used longest ago, and all of them go with the one that has
 * to. Without a group only that one does. */
static void test_evicted(void **state) {
        struct world *w = *state;

        w->grouped = GROUP;
        for (uint32_t i = 0; i <= ROOM; i++)
                touch(w, i);
        assert_int_equal(out(w, true), GROUP);
        assert_int_equal(out(w, false), 0);
        touch(w, 0); /* they come back with it, as far as there is room without anybody leaving */
        assert_int_equal(out(w, true), 1);
        assert_int_equal(out(w, false), 0);
}

static void test_alone(void **state) {
        struct world *w = *state;

        for (uint32_t i = 0; i <= ROOM; i++)
                touch(w, i);
        assert_int_equal(out(w, true) + out(w, false), 1);
}

/* At a partition's limit, too. */
static void test_evicted_at_a_limit(void **state) {
        struct world *w = *state;
        struct managed_group *g;

        assert_int_equal(managed_group_new(w->e, &g), 0);
        managed_leave(w->e, w->session, w->range, 1);
        managed_range_end(w->e, w->range, 0, 1);
        all(w);
        assert_int_equal(managed_range_new(w->e, &w->range, w, g, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, 1), 0);
        managed_group_limit(w->e, g, HOST, 16 * BYTES, 1);
        w->grouped = GROUP;
        for (uint32_t i = 0; i <= 16; i++)
                touch(w, i);
        assert_int_equal(out(w, true), GROUP);
        assert_int_equal(out(w, false), 0);
}

/* What is pinned stays behind. */
static void test_pinned_stays(void **state) {
        struct world *w = *state;

        w->grouped = GROUP;
        for (uint32_t i = 0; i < ROOM; i++)
                touch(w, i);
        assert_int_equal(managed_pin(w->e, w->range, 3, 1, 0, 1), 0);
        all(w);
        touch(w, ROOM);
        assert_int_equal(out(w, true), GROUP - 1);
        assert_int_equal(w->state[3], RESIDENCY_RESIDENT);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        static const struct CMUnitTest tests[] = { T(test_evicted), T(test_alone), T(test_evicted_at_a_limit),
                                                   T(test_pinned_stays) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
