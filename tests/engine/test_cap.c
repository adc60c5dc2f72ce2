/*
 * Caps: what was asked for waits for its turn, what comes along stays, what would come to a device is mapped, and a
 * touch is served at once, and charged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/history.h"
#include "engine/managed.h"

enum { BYTES = 65536, COUNT = 64, WORKERS = 3, HOST = 0, NEAR = 1, UNTOLD = 9999 };
static const uint32_t bandwidth[2] = { 1, 1 };
static const uint64_t ms = 1000 * 1000;

struct world {
        struct managed *e;
        struct managed_group *group;
        struct managed_range *range;
        struct managed_session *session;
        uint64_t now;
        int answer;
};
static struct world world;
static struct policy_profile profile;

static void on_intent(void *userdata, const struct managed_record *r) {
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e)))
                managed_complete(w->e, s, 0, w->now);
        assert_int_equal(managed_check(w->e), 0);
}

static int setup(void **state) {
        struct world *w = *state = &world;
        struct managed_config c = {
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = COUNT * BYTES,
                .profile = &profile,
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        memset(w, 0, sizeof(*w));
        w->now = 5000 * ms;
        w->answer = UNTOLD;
        profile = *policy_profile_default();
        profile.lapse_us = profile.settle_us = profile.window_moves = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        assert_int_equal(managed_group_new(w->e, &w->group), 0);
        assert_int_equal(managed_range_new(w->e, &w->range, w, w->group, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, w->now), 0);
        for (uint32_t g = 0; g < COUNT; g++)
                assert_int_equal(managed_fault(w->e, w->session, w->range, g, true, false, w->now), 0);
        all(w);
        return 0;
}

static int teardown(void **state) {
        managed_free(((struct world *)*state)->e);
        return 0;
}

static uint64_t on_device(struct world *w) {
        return managed_range_used(w->range, NEAR) / BYTES;
}

/* Until so long after now, with the time told when it is due and not before. */
static void pass(struct world *w, uint64_t ns) {
        uint64_t end = w->now + ns, due;

        while ((due = managed_due(w->e)) && due <= end) {
                w->now = due > w->now ? due : w->now;
                managed_tick(w->e, w->now);
                all(w);
        }
        w->now = end;
}

static void order(struct world *w, uint32_t first, uint32_t count) {
        assert_int_equal(managed_migrate(w->e, w->range, first, count, NEAR, MANAGED_BY_REQUEST, 1, w->now), 0);
        all(w);
}

/* 20 granules a second, of which two go at once. */
static void check_order(struct world *w) {
        struct managed_past past;

        order(w, 0, 40);
        assert_in_range(on_device(w), 2, 3);
        assert_int_equal(w->answer, UNTOLD);
        assert_int_equal(managed_history(w->range, 30, true, &past, 1), 1);
        assert_int_equal(past.deed, MANAGED_DELAYED);
        assert_int_equal(past.why, MANAGED_WHY_CAP);
        pass(w, 1000 * ms);
        assert_in_range(on_device(w), 20, 24);
        assert_int_equal(w->answer, UNTOLD);
        pass(w, 1000 * ms);
        assert_int_equal(on_device(w), 40);
        assert_int_equal(w->answer, 0);
        assert_int_equal(managed_due(w->e), 0);
}

static void test_link(void **state) {
        struct world *w = *state;
        struct managed_flow flow;

        assert_int_equal(managed_link_cap(w->e, NEAR, HOST, 20 * BYTES), 0);
        check_order(w);
        managed_link_flow(w->e, HOST, NEAR, &flow);
        assert_int_equal(flow.bytes, 40 * BYTES);
        assert_int_equal(flow.rate, 20 * BYTES);
        assert_in_range(flow.put_off, 37, 38);
}

static void test_group(void **state) {
        struct world *w = *state;
        struct managed_flow flow;

        managed_group_cap(w->e, w->group, 20 * BYTES);
        check_order(w);
        managed_group_flow(w->group, &flow);
        assert_int_equal(flow.bytes, 40 * BYTES);
        assert_in_range(flow.put_off, 37, 38);
}

/* What stands in line goes when somebody wants it, and the line pays for it. */
static void test_touch(void **state) {
        struct world *w = *state;

        assert_int_equal(managed_link_cap(w->e, NEAR, HOST, 20 * BYTES), 0);
        order(w, 0, 40);
        assert_int_equal(managed_device_access(w->e, w->range, 30, NEAR, true, 0, w->now), 0);
        all(w);
        assert_in_range(on_device(w), 3, 4);
        managed_device_end(w->e, w->range, 30, w->now);
        assert_int_equal(managed_pin(w->e, w->range, 31, 1, 0, w->now), 0);
        assert_int_equal(managed_discard(w->e, w->range, 32, 1, 0, w->now), 0);
        all(w);
        pass(w, 3000 * ms);
        assert_int_equal(w->answer, MANAGED_E_PINNED); /* of 31 */
}

static void test_ends(void **state) {
        struct world *w = *state;

        managed_group_cap(w->e, w->group, 20 * BYTES);
        order(w, 0, 40);
        managed_session_end(w->e, w->session, w->now);
        managed_range_end(w->e, w->range, 2, w->now);
        all(w);
        assert_int_equal(w->answer, 0);
        assert_int_equal(managed_due(w->e), 0);
}

/* Whoever lifts the cap lets all go. */
static void test_lifted(void **state) {
        struct world *w = *state;

        assert_int_equal(managed_link_cap(w->e, NEAR, HOST, 20 * BYTES), 0);
        order(w, 0, 40);
        assert_int_equal(managed_link_cap(w->e, NEAR, HOST, 0), 0);
        pass(w, 1);
        assert_int_equal(on_device(w), 40);
}

/* A device that reaches it uses it where it is; what a fault would bring along stays. */
static void test_promotion(void **state) {
        struct world *w = *state;
        struct managed_past past;

        assert_int_equal(managed_link_cap(w->e, NEAR, HOST, 20 * BYTES), 0);
        order(w, 0, 4);
        w->answer = UNTOLD;
        assert_int_equal(managed_device_access(w->e, w->range, 20, NEAR, true, 1, w->now), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        assert_in_range(on_device(w), 2, 3);
        assert_int_equal(managed_history(w->range, 20, false, &past, 1), 1);
        assert_int_equal(past.deed, MANAGED_MAPPED);
        assert_int_equal(past.why, MANAGED_WHY_CAP);
        managed_device_end(w->e, w->range, 20, w->now);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_link, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group, setup, teardown),
                cmocka_unit_test_setup_teardown(test_touch, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lifted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_promotion, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
