/*
 * What is kept of a granule and beside it: refusals, who pays, what devices are shown and how many operations use it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/managed.h"

enum { BYTES = 65536, HOST = 0, NEAR = 1, WORKERS = 2, COUNT = 100 };
static const uint32_t bandwidth[2] = { 1, 1 };
static const uint64_t second = 1000 * 1000 * 1000;

struct world {
        struct managed *e;
        struct managed_range *range;
        struct managed_session *session;
        struct managed_record last[COUNT];
        int answer;
};

static void on_intent(void *userdata, const struct managed_record *r) {
        ((struct world *)userdata)->last[r->granule] = *r;
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e)))
                managed_complete(w->e, s, 0, 2 * second);
        assert_int_equal(managed_check(w->e), 0);
}

static void touch_as(struct world *w, struct managed_session *s, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, s, w->range, granule, true, false, 2 * second), 0);
        all(w);
}

static struct world world;

static int setup(void **state) {
        struct world *w = &world;
        static struct policy_profile profile;
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
        };

        memset(w, 0, sizeof(*w));
        profile = *policy_profile_default();
        profile.settle_us = 100000;
        profile.window_moves = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        assert_int_equal(managed_range_new(w->e, &w->range, w, NULL, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, 1), 0);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        alloc_fail_off();
        managed_free(world.e);
        return 0;
}

static int move(struct world *w, uint32_t first, uint32_t count, enum managed_cause cause, uint64_t now) {
        w->answer = 99;
        assert_int_equal(managed_migrate(w->e, w->range, first, count, NEAR, cause, 1, now), 0);
        all(w);
        return w->answer;
}

static void test_refused(void **state) {
        struct world *w = *state;
        struct managed_granule_info info;

        for (uint32_t g = 0; g < 5; g++)
                touch_as(w, w->session, g);
        managed_granule_info(w->range, 2, &info);
        assert_int_equal(info.refused, 0);
        assert_int_equal(move(w, 1, 3, MANAGED_BY_PREFETCH, 2 * second + 5), MANAGED_E_RATE);
        for (uint32_t g = 1; g < 4; g++) {
                managed_granule_info(w->range, g, &info);
                assert_int_equal(info.refused, MANAGED_E_RATE);
                assert_int_equal(info.refused_ns, 2 * second + 5);
                assert_int_equal(info.refused_cause, MANAGED_BY_PREFETCH);
        }
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 0, 2 * second), 0);
        assert_int_equal(move(w, 0, 1, MANAGED_BY_REQUEST, 3 * second), MANAGED_E_PINNED);
        managed_granule_info(w->range, 0, &info);
        assert_int_equal(info.refused, MANAGED_E_PINNED);
        assert_int_equal(info.refused_ns, 3 * second);
        assert_int_equal(info.refused_cause, MANAGED_BY_REQUEST);
        managed_granule_info(w->range, 1, &info); /* when, is not known any more */
        assert_int_equal(info.refused, MANAGED_E_RATE);
        assert_int_equal(info.refused_ns, 0);
        assert_int_equal(move(w, 1, 1, MANAGED_BY_PREFETCH, 3 * second), 0);
        managed_granule_info(w->range, 1, &info);
        assert_int_equal(info.refused, 0);
}

/* Each record names the cgroup that paid, while it does and no longer. */
static void test_payers(void **state) {
        struct world *w = *state;
        struct managed_session *s;

        for (unsigned round = 0; round < 3; round++)
                for (uint32_t g = 0; g < 40; g++) {
                        uint64_t cgroup = 1000 * (round + 1) + g;

                        assert_int_equal(managed_discard(w->e, w->range, g, 1, 0, 1), 0);
                        all(w);
                        assert_int_equal(w->last[g].cgroup, 0);
                        assert_int_equal(managed_session_new(w->e, &s, w, cgroup), 0);
                        assert_int_equal(managed_join(w->e, s, w->range, false, 1), 0);
                        touch_as(w, s, g);
                        assert_int_equal(w->last[g].cgroup, cgroup);
                        managed_session_end(w->e, s, 1);
                        all(w);
                }
        assert_int_equal(move(w, 0, 40, MANAGED_BY_REQUEST, 3 * second), 0);
        for (uint32_t g = 0; g < 40; g++)
                assert_int_equal(w->last[g].cgroup, 0);
}

static int use(struct world *w, uint32_t granule, bool write) {
        w->answer = 99;
        assert_int_equal(managed_device_access(w->e, w->range, granule, NEAR, write, 1, 3 * second), 0);
        all(w);
        return w->answer;
}

/* Without memory for what a device is shown, it is told so, and can ask again. */
static void test_shown(void **state) {
        struct world *w = *state;
        int k = -ENOMEM;

        for (unsigned long n = 1; k; n++) {
                alloc_fail_at(n);
                w->answer = 99;
                k = managed_device_access(w->e, w->range, 99, NEAR, false, 1, 1);
                alloc_fail_off();
                if (!k) {
                        managed_node_online(w->e, HOST, 1); /* what waits for memory is looked at with the next input */
                        all(w);
                        k = w->answer;
                }
                assert_true(k == 0 || k == -ENOMEM);
                assert_int_equal(managed_check(w->e), 0);
        }
        assert_true(managed_device_begin(w->e, w->range, 99, NEAR, false));
        assert_false(managed_device_begin(w->e, w->range, 99, NEAR, true));
        assert_false(managed_device_begin(w->e, w->range, 98, NEAR, false));
        assert_int_equal(use(w, 99, true), 0);
        assert_true(managed_device_begin(w->e, w->range, 99, NEAR, true));
}

static void test_many_operations(void **state) {
        struct world *w = *state;
        uint32_t n = 1;

        assert_int_equal(use(w, 0, false), 0);
        while (managed_device_begin(w->e, w->range, 0, NEAR, false))
                n++;
        assert_int_equal(n, UINT16_MAX);
        assert_int_equal(use(w, 0, false), -EBUSY);
        managed_device_end(w->e, w->range, 0, 1);
        assert_int_equal(use(w, 0, false), 0);
        while (n--)
                managed_device_end(w->e, w->range, 0, 1);
        touch_as(w, w->session, 0);
        assert_int_equal(w->last[0].state, RESIDENCY_RESIDENT);
}

/* A range that ends waits for operations, and lets none begin. */
static void test_end(void **state) {
        struct world *w = *state;

        assert_int_equal(use(w, 0, false), 0);
        managed_range_end(w->e, w->range, 5, 1);
        w->answer = 99;
        all(w);
        assert_int_equal(w->answer, 99);
        assert_false(managed_device_begin(w->e, w->range, 0, NEAR, false));
        managed_device_end(w->e, w->range, 0, 1);
        all(w);
        assert_int_equal(w->answer, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_refused), T(test_payers), T(test_shown), T(test_many_operations), T(test_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
