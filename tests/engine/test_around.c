/*
 * What comes along with a fault: policy's run, without what is wished elsewhere; faults of the CPU and of devices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/managed.h"

enum { BYTES = 4096, HOST = 0, NEAR = 1, WORKERS = 2, COUNT = 1024, LEAF = 16 };
static const uint32_t bandwidth[2] = { 1, 1 };

struct world {
        struct managed *e;
        struct managed_range *range;
        struct managed_session *session;
        enum residency state[COUNT];
        uint32_t prefers, pinned; /* a granule; 0: none */
        int answer;
};

static void on_intent(void *userdata, const struct managed_record *r) {
        ((struct world *)userdata)->state[r->granule] = r->state;
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static void on_advice(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        const struct world *w = userdata;

        if (granule && granule == w->prefers)
                ret->preferred = (w->state[granule] == RESIDENCY_RESIDENT ? HOST : NEAR) + 1;
        ret->pinned = granule && granule == w->pinned;
}

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e)))
                managed_complete(w->e, s, 0, 1);
        assert_int_equal(managed_check(w->e), 0);
}

static struct world world;
static uint32_t window_moves;

/* Everything has been touched, and is in host memory. */
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
                .advice = on_advice,
        };

        memset(w, 0, sizeof(*w));
        profile = *policy_profile_default();
        profile.settle_us = 0;
        profile.window_us = 1;
        profile.window_moves = window_moves;
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        assert_int_equal(managed_range_new(w->e, &w->range, w, NULL, BYTES, COUNT, 7, false), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, 1), 0);
        for (uint32_t g = 0; g < COUNT; g++)
                assert_int_equal(managed_fault(w->e, w->session, w->range, g, true, false, 1), 0);
        all(w);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        managed_free(world.e);
        return 0;
}

static void send(struct world *w) {
        assert_int_equal(managed_migrate(w->e, w->range, 0, COUNT, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
}

static uint32_t count(struct world *w, enum residency state) {
        uint32_t n = 0;

        for (uint32_t g = 0; g < COUNT; g++)
                n += w->state[g] == state;
        return n;
}

static void touch(struct world *w, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, w->session, w->range, granule, true, false, 1), 0);
        all(w);
}

/* And nothing with it. */
static void bring_one(struct world *w, uint32_t granule) {
        assert_int_equal(managed_migrate(w->e, w->range, granule, 1, HOST, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w);
}

static void test_walk(void **state) {
        struct world *w = *state;

        send(w);
        touch(w, 0);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), LEAF);
        touch(w, LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 3 * LEAF);
        touch(w, 3 * LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 7 * LEAF);
        touch(w, COUNT - 1);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 8 * LEAF);
}

static void test_wished_elsewhere(void **state) {
        struct world *w = *state;

        w->prefers = 3;
        w->pinned = 4;
        send(w);
        touch(w, 0);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), LEAF - 2);
        assert_int_equal(w->state[3], RESIDENCY_OUT);
        assert_int_equal(w->state[4], RESIDENCY_OUT);
        touch(w, 3);
        assert_int_equal(w->state[3], RESIDENCY_RESIDENT);
}

static void use(struct world *w, uint32_t granule) {
        w->answer = 99;
        assert_int_equal(managed_device_access(w->e, w->range, granule, NEAR, true, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        managed_device_end(w->e, w->range, granule, 1);
}

static void test_device(void **state) {
        struct world *w = *state;

        w->prefers = 5;
        assert_int_equal(managed_pin(w->e, w->range, 6, 1, 0, 1), 0);
        use(w, 0);
        assert_int_equal(count(w, RESIDENCY_OUT), LEAF - 2);
        use(w, LEAF);
        assert_int_equal(count(w, RESIDENCY_OUT), 3 * LEAF - 2);
        use(w, 3 * LEAF);
        assert_int_equal(count(w, RESIDENCY_OUT), 7 * LEAF - 2);
}

static void discard(struct world *w) {
        assert_int_equal(managed_discard(w->e, w->range, 0, COUNT, 1, 1), 0);
        all(w);
        assert_int_equal(count(w, RESIDENCY_EMPTY), COUNT);
}

/* Where the range asks for it, what is empty comes as what is elsewhere does. */
static void test_first_touch(void **state) {
        struct world *w = *state;

        discard(w);
        touch(w, 0);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 1);
        managed_range_ahead(w->range);
        discard(w);
        w->prefers = 3;
        w->pinned = 4;
        touch(w, 0);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), LEAF - 2);
        touch(w, LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 3 * LEAF - 2);
        touch(w, 3 * LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 7 * LEAF - 2);
}

/* Nothing leaves for what nobody touched. */
static void test_first_touch_without_room(void **state) {
        struct world *w = *state;

        managed_range_ahead(w->range);
        discard(w);
        managed_node_capacity(w->e, 0, (WORKERS + 3) * BYTES, 1);
        touch(w, 0);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 3);
        assert_int_equal(count(w, RESIDENCY_EMPTY), COUNT - 3);
        touch(w, COUNT - 1);
        assert_int_equal(w->state[COUNT - 1], RESIDENCY_RESIDENT);
        assert_int_equal(count(w, RESIDENCY_EMPTY), COUNT - 4);
}

/* What was not touched is not paid for by whoever touches something else of another's range. */
static void test_first_touch_of_another(void **state) {
        struct managed_session *other;
        struct world *w = *state;

        managed_range_ahead(w->range);
        discard(w);
        assert_int_equal(managed_session_new(w->e, &other, w, 8), 0);
        assert_int_equal(managed_join(w->e, other, w->range, false, 1), 0);
        all(w);
        assert_int_equal(managed_fault(w->e, other, w->range, 0, true, false, 1), 0);
        all(w);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 1);
}

/* In a window only so many come along; what was asked for comes. */
static void test_window(void **state) {
        enum { MOST = COUNT / 16 + 1 };
        struct world *w = *state;

        send(w);
        touch(w, 0);
        touch(w, LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), 3 * LEAF);
        touch(w, 3 * LEAF);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), MOST + 3);
        touch(w, COUNT - 1);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), MOST + 4);
        assert_int_equal(managed_migrate(w->e, w->range, 512, 8, HOST, MANAGED_BY_PREFETCH, 1, 1), 0);
        all(w);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), MOST + 12);
        assert_int_equal(managed_fault(w->e, w->session, w->range, 256, true, false, 2000), 0);
        all(w);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), MOST + 12 + LEAF);
}

static int setup_window(void **state) {
        int r;

        window_moves = 1;
        r = setup(state);
        window_moves = 0;
        return r;
}

/* ---- what is taken together ---- */

static void take_four(struct world *w, const struct managed_step *step[4], enum managed_step_type type) {
        step[0] = managed_take(w->e);
        assert_non_null(step[0]);
        assert_int_equal(step[0]->type, type);
        for (uint32_t i = 1; i < 4; i++) {
                step[i] = managed_take_behind(w->e, step[i - 1]);
                assert_non_null(step[i]);
                assert_int_equal(step[i]->granule, step[0]->granule + i);
        }
}

static void complete_four(struct world *w, const struct managed_step *step[4]) {
        for (uint32_t i = 0; i < 4; i++)
                managed_complete(w->e, step[i], 0, 1);
}

/* Copies into slots that lie behind one another. */
static void test_copies(void **state) {
        const struct managed_step *step[4];
        struct world *w = *state;

        assert_int_equal(managed_migrate(w->e, w->range, 0, 4, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        take_four(w, step, MANAGED_WRITE_PROTECT);
        complete_four(w, step);
        take_four(w, step, MANAGED_COPY_OUT);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(step[i]->slot, step[0]->slot + i);
        complete_four(w, step);
        all(w);
        assert_int_equal(count(w, RESIDENCY_OUT), 4);
}

/* Into slots that do not, each goes alone. */
static void test_copies_apart(void **state) {
        const struct managed_step *step;
        struct world *w = *state;

        assert_int_equal(managed_migrate(w->e, w->range, 0, 4, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w);
        for (uint32_t g = 0; g < 4; g += 2)
                bring_one(w, g);
        assert_int_equal(managed_migrate(w->e, w->range, 8, 2, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        while ((step = managed_take(w->e))) {
                const struct managed_step *behind = managed_take_behind(w->e, step);

                if (step->type == MANAGED_COPY_OUT)
                        assert_null(behind);
                managed_complete(w->e, step, 0, 1);
                if (behind)
                        managed_complete(w->e, behind, 0, 1);
        }
        assert_int_equal(count(w, RESIDENCY_OUT), 4);
}

/* Zeroes that nobody waits for; those that somebody waits for are filled alone. */
static void test_zeroes(void **state) {
        const struct managed_step *step[4];
        struct world *w = *state;

        managed_range_ahead(w->range);
        discard(w);
        assert_int_equal(managed_fault(w->e, w->session, w->range, 0, true, false, 1), 0);
        step[0] = managed_take_urgent(w->e);
        assert_int_equal(step[0]->type, MANAGED_ZERO);
        assert_int_equal(step[0]->granule, 0);
        assert_null(managed_take_behind(w->e, step[0]));
        managed_complete(w->e, step[0], 0, 1);
        take_four(w, step, MANAGED_ZERO);
        complete_four(w, step);
        all(w);
        assert_int_equal(count(w, RESIDENCY_RESIDENT), LEAF);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = { T(test_walk),
                                            T(test_wished_elsewhere),
                                            T(test_device),
                                            T(test_first_touch),
                                            T(test_first_touch_without_room),
                                            T(test_first_touch_of_another),
                                            T(test_copies),
                                            T(test_copies_apart),
                                            T(test_zeroes),
                                            cmocka_unit_test_setup_teardown(test_window, setup_window, teardown) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
