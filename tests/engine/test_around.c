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
                ret->preferred = (w->state[granule] == RESIDENCY_OUT ? NEAR : HOST) + 1;
        ret->pinned = granule && granule == w->pinned;
}

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e)))
                managed_complete(w->e, s, 0, 1);
        assert_int_equal(managed_check(w->e), 0);
}

static struct world world;

/* Everything has been touched, and is in host memory. */
static int setup(void **state) {
        struct world *w = &world;
        struct managed_config c = {
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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = { T(test_walk), T(test_wished_elsewhere), T(test_device) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
