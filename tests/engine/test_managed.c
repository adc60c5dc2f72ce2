/*
 * Directed cases: the order of records and steps, payers, room, sessions that come and go, restarts. What was recorded
 * and handed out is written down as words and compared; the simulator (tests/sim) does the rest.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/managed.h"

enum { BYTES = 65536, HOST = 0, NEAR = 1, FAR = 2, WORKERS = 2 };

static const char *const step_names[] = {
        [MANAGED_WRITE_PROTECT] = "protect", [MANAGED_UNPROTECT] = "unprotect", [MANAGED_CONTINUE] = "continue",
        [MANAGED_COPY_IN] = "copy-in",       [MANAGED_ZERO] = "zero",           [MANAGED_WAKE] = "wake",
        [MANAGED_POISON] = "poison",         [MANAGED_WRITE_BACK] = "write",    [MANAGED_ALLOCATE] = "allocate",
        [MANAGED_COPY_OUT] = "copy-out",     [MANAGED_MERGE] = "merge",         [MANAGED_PUNCH_HOLE] = "punch",
        [MANAGED_COPY_NODE] = "copy-node",   [MANAGED_ZERO_SLOT] = "zero-slot", [MANAGED_SLOT_FREE] = "free",
        [MANAGED_INVALIDATE] = "invalidate", [MANAGED_NODE_MAP] = "show",
};

struct world {
        struct managed *e;
        struct managed_range *range;
        struct managed_session *a, *b;
        struct managed_record last[16];
        char log[4096];
        int answer;
        unsigned joined;
        bool poison;
        struct policy_profile profile;
        uint32_t settle_us;
};

static char name_a[] = "a", name_b[] = "b", name_c[] = "c";

static void note(struct world *w, const char *word, const char *who) {
        size_t n = strlen(w->log);

        snprintf(w->log + n, sizeof(w->log) - n, "%s%s%s%s ", word, who ? "(" : "", who ? who : "", who ? ")" : "");
}

static void on_intent(void *userdata, const struct managed_record *r) {
        struct world *w = userdata;

        w->last[r->granule] = *r;
        note(w, managed_state_name(r->state), NULL);
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
        ((struct world *)userdata)->joined++;
        note(userdata, "joined", session);
}

static enum policy_answer migrate(const struct policy_machine *m, const struct policy_profile *p,
                                  const struct policy_advice *advice, const struct policy_granule *g, uint32_t accessor,
                                  enum policy_access access, uint64_t now_ns) {
        return POLICY_MIGRATE;
}

static enum policy_answer duplicate(const struct policy_machine *m, const struct policy_profile *p,
                                    const struct policy_advice *advice, const struct policy_granule *g,
                                    uint32_t accessor, enum policy_access access, uint64_t now_ns) {
        return POLICY_DUPLICATE;
}

static bool evict_any(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                      const uint64_t *room, uint32_t *ret_to) {
        return true;
}

static void no_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                        const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                        uint32_t *ret_count) {
        *ret_first = f->at;
        *ret_count = 0;
}

static void engine_start(struct world *w, uint64_t host_granules, uint64_t near_granules) {
        struct managed_config c = {
                .workers = WORKERS,
                .session_steps = 1,
                .largest = BYTES,
                .warm = 100 * BYTES,
                .profile = &w->profile,
                .decide = { .promote = migrate, .evict = evict_any, .prefetch = no_prefetch },
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        w->profile = *policy_profile_default();
        w->profile.settle_us = w->settle_us;
        w->profile.window_moves = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        assert_int_equal(managed_node_add(w->e, true, false, (host_granules + WORKERS) * BYTES, 0, NULL), HOST);
        assert_int_equal(managed_node_add(w->e, false, true, (near_granules + WORKERS) * BYTES, 0, NULL), NEAR);
        assert_int_equal(managed_range_new(w->e, &w->range, w, NULL, BYTES, 16, 7, w->poison), 0);
        assert_int_equal(managed_session_new(w->e, &w->a, name_a, 7), 0);
        assert_int_equal(managed_session_new(w->e, &w->b, name_b, 8), 0);
        w->answer = 99;
}

/* The next step is executed with this result. False: there was none. */
static bool one(struct world *w, int result) {
        const struct managed_step *s = managed_take(w->e);

        if (!s)
                return false;
        note(w, step_names[s->type], s->session);
        managed_complete(w->e, s, result, 1);
        assert_int_equal(managed_check(w->e), 0);
        return true;
}

static void all(struct world *w) {
        while (one(w, 0))
                ;
}

static void expect(struct world *w, const char *log) {
        assert_string_equal(w->log, log);
        w->log[0] = '\0';
}

static struct world world;

static int setup(void **state) {
        memset(&world, 0, sizeof(world));
        *state = &world;
        engine_start(&world, 8, 8);
        managed_join(world.e, world.a, world.range, false, 1);
        managed_join(world.e, world.b, world.range, false, 1);
        world.log[0] = '\0';
        return 0;
}

static int teardown(void **state) {
        managed_free(world.e);
        return 0;
}

static void touch(struct world *w, struct managed_session *s, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, s, w->range, granule, true, false, 1), 0);
        all(w);
}

static void send(struct world *w, uint32_t granule, uint32_t node) {
        assert_int_equal(managed_migrate(w->e, w->range, granule, 1, node, MANAGED_BY_REQUEST, 1, 1), 0);
}

static void test_out_and_in(void **state) {
        struct world *w = *state;

        touch(w, w->a, 3);
        expect(w, "FILLING zero(a) RESIDENT ");
        send(w, 3, NEAR);
        all(w);
        expect(w, "COPYING protect(a) protect(b) copy-out PUNCHING punch OUT ");
        assert_int_equal(w->answer, 0);
        assert_int_equal(managed_fault(w->e, w->b, w->range, 3, false, true, 1), 0);
        assert_int_equal(managed_fault(w->e, w->a, w->range, 3, false, false, 1), 0);
        all(w);
        expect(w, "FILLING copy-in(b) RESIDENT continue(a) ");
}

static void test_faults_wait(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        w->log[0] = '\0';
        one(w, 0);
        assert_int_equal(managed_fault(w->e, w->b, w->range, 0, true, true, 1), 0);
        assert_int_equal(managed_fault(w->e, w->b, w->range, 0, true, true, 1), 0);
        all(w);
        expect(w, "protect(a) protect(b) copy-out PUNCHING punch OUT FILLING copy-in(b) RESIDENT ");
}

static void test_copy_fails(void **state) {
        struct world *w = *state;
        struct managed_node_info info;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        w->log[0] = '\0';
        one(w, 0);
        one(w, -EAGAIN);
        one(w, -ESRCH);
        one(w, -EIO);
        expect(w, "protect(a) protect(b) protect(b) copy-out RESIDENT ");
        assert_int_equal(w->answer, -EIO);
        managed_node_info(w->e, NEAR, &info);
        assert_int_equal(info.used, 0);
        touch(w, w->a, 0);
        expect(w, "continue(a) unprotect(a) ");
}

/* Only a session of the owner's cgroup pays for others; without one the memfd is written. */
static void test_payers(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        all(w);
        w->log[0] = '\0';
        send(w, 0, HOST);
        all(w);
        expect(w, "FILLING copy-in(a) RESIDENT ");
        send(w, 0, NEAR);
        all(w);
        managed_session_end(w->e, w->a, 1);
        w->log[0] = '\0';
        send(w, 0, HOST);
        all(w);
        expect(w, "WRITING write CONTINUING RESIDENT ");
}

static void test_payer_ends(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        all(w);
        w->log[0] = '\0';
        assert_int_equal(managed_fault(w->e, w->a, w->range, 0, true, false, 1), 0);
        managed_session_end(w->e, w->a, 1);
        all(w);
        expect(w, "FILLING protect(b) merge PUNCHING punch OUT ");
        touch(w, w->b, 0);
        expect(w, "WRITING write CONTINUING continue(b) RESIDENT ");
}

static void test_payer_full(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        touch(w, w->a, 1);
        send(w, 0, NEAR);
        all(w);
        w->log[0] = '\0';
        assert_int_equal(managed_fault(w->e, w->a, w->range, 0, true, false, 1), 0);
        one(w, -ENOMEM);
        all(w);
        expect(w, "FILLING copy-in(a) COPYING protect(a) protect(b) copy-out PUNCHING punch OUT copy-in(a) RESIDENT ");
        assert_int_equal(w->last[1].state, RESIDENCY_OUT);
}

static void test_join_in_flight(void **state) {
        struct world *w = *state;
        struct managed_session *c;

        touch(w, w->a, 2);
        send(w, 2, NEAR);
        w->log[0] = '\0';
        assert_int_equal(managed_session_new(w->e, &c, name_c, 7), 0);
        assert_int_equal(managed_join(w->e, c, w->range, false, 1), 0);
        assert_int_equal(w->joined, 2);
        all(w);
        assert_int_equal(w->joined, 3);
        assert_non_null(strstr(w->log, "protect(c) joined(c)"));
        assert_int_equal(managed_join(w->e, c, w->range, false, 1), -EEXIST);
}

static void test_readonly(void **state) {
        struct world *w = *state;

        managed_leave(w->e, w->b, w->range, 1);
        assert_int_equal(managed_join(w->e, w->b, w->range, true, 1), 0);
        managed_leave(w->e, w->a, w->range, 1);
        w->log[0] = '\0';
        assert_int_equal(managed_fault(w->e, w->b, w->range, 0, false, false, 1), 0);
        all(w);
        expect(w, "WRITING allocate CONTINUING continue(b) RESIDENT ");
        send(w, 0, NEAR);
        all(w);
        expect(w, "COPYING copy-out PUNCHING punch OUT ");
}

static void test_leave_and_join(void **state) {
        struct world *w = *state;
        const struct managed_step *s;

        assert_int_equal(managed_fault(w->e, w->a, w->range, 0, false, false, 1), 0);
        s = managed_take(w->e);
        managed_leave(w->e, w->a, w->range, 1);
        assert_int_equal(managed_join(w->e, w->a, w->range, false, 1), -EAGAIN);
        managed_complete(w->e, s, -ESRCH, 1);
        all(w);
        assert_int_equal(managed_join(w->e, w->a, w->range, false, 1), 0);
        assert_int_equal(managed_check(w->e), 0);
}

/* A session has one step out at a time here; the other session's are handed out meanwhile. */
static void test_slow_session(void **state) {
        struct world *w = *state;
        const struct managed_step *first, *second;

        for (uint32_t g = 0; g < 4; g++)
                assert_int_equal(managed_fault(w->e, w->a, w->range, g, true, false, 1), 0);
        assert_int_equal(managed_fault(w->e, w->b, w->range, 5, true, false, 1), 0);
        first = managed_take(w->e);
        second = managed_take(w->e);
        assert_ptr_equal(first->session, name_a);
        assert_ptr_equal(second->session, name_b);
        assert_null(managed_take(w->e));
        managed_complete(w->e, second, 0, 1);
        assert_int_equal(w->last[5].state, RESIDENCY_RESIDENT);
        assert_null(managed_take(w->e));
        managed_complete(w->e, first, 0, 1);
        all(w);
        assert_int_equal(w->last[3].state, RESIDENCY_RESIDENT);
}

/* Steps of neighbours can be taken together, whatever the session's number of steps; nothing else can. */
static void test_neighbours(void **state) {
        struct world *w = *state;
        const struct managed_step *step[4];

        for (uint32_t g = 0; g < 4; g++)
                touch(w, w->a, g);
        touch(w, w->a, 5);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 4, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        send(w, 5, NEAR);
        step[0] = managed_take(w->e);
        assert_int_equal(step[0]->type, MANAGED_WRITE_PROTECT);
        for (uint32_t i = 1; i < 4; i++) {
                step[i] = managed_take_behind(w->e, step[i - 1]);
                assert_non_null(step[i]);
                assert_ptr_equal(step[i]->session, step[0]->session);
                assert_int_equal(step[i]->granule, step[0]->granule + i);
        }
        assert_null(managed_take_behind(w->e, step[3]));
        for (uint32_t i = 4; i-- > 0;)
                managed_complete(w->e, step[i], i == 2 ? -EAGAIN : 0, 1);
        assert_int_equal(managed_check(w->e), 0);
        all(w);
        for (uint32_t g = 0; g < 6; g++)
                assert_int_equal(w->last[g].state, g == 4 ? RESIDENCY_EMPTY : RESIDENCY_OUT);
}

static void test_device(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        w->log[0] = '\0';
        assert_int_equal(managed_device_access(w->e, w->range, 0, NEAR, true, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        expect(w, "COPYING protect(a) protect(b) copy-out PUNCHING punch OUT show ");
        assert_int_equal(managed_fault(w->e, w->a, w->range, 0, true, false, 1), 0);
        assert_false(managed_device_begin(w->e, w->range, 0, NEAR, true));
        all(w);
        expect(w, ""); /* what the device was told to use stays there until it has */
        managed_device_end(w->e, w->range, 0, 1);
        all(w);
        expect(w, "invalidate FILLING copy-in(a) RESIDENT ");
        assert_false(managed_device_begin(w->e, w->range, 0, NEAR, false));
}

static int use(struct world *w, uint32_t granule, uint32_t node, bool write) {
        w->answer = 99;
        assert_false(managed_device_begin(w->e, w->range, granule, node, write));
        assert_int_equal(managed_device_access(w->e, w->range, granule, node, write, 1, 1), 0);
        all(w);
        if (!w->answer) {
                assert_true(managed_device_begin(w->e, w->range, granule, node, write));
                managed_device_end(w->e, w->range, granule, 1);
                managed_device_end(w->e, w->range, granule, 1);
        }
        return w->answer;
}

/* A node without faults uses what was brought to it, what is pinned, and what was never touched. */
static void test_no_faults(void **state) {
        struct world *w = *state;

        managed_free(w->e);
        w->settle_us = 1;
        engine_start(w, 8, 8);
        managed_join(w->e, w->a, w->range, false, 1);
        assert_int_equal(managed_node_add(w->e, false, false, 8 * BYTES, 0, NULL), FAR);
        touch(w, w->a, 0);
        w->log[0] = '\0';
        assert_int_equal(use(w, 0, FAR, false), -EFAULT);
        expect(w, "");
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, FAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        w->log[0] = '\0';
        assert_int_equal(use(w, 0, FAR, true), 0);
        expect(w, "show ");
        assert_int_equal(use(w, 1, FAR, false), 0);
        expect(w, "zero-slot OUT show ");
        assert_int_equal(managed_pin(w->e, w->range, 1, 1, 0, 1), 0);
        all(w);
        assert_int_equal(w->last[1].state, RESIDENCY_RESIDENT);
        assert_int_equal(use(w, 1, FAR, true), 0);
        assert_int_equal(w->last[1].state, RESIDENCY_RESIDENT);
        touch(w, w->a, 0);
        assert_int_equal(use(w, 0, FAR, true), -EFAULT);
        managed_node_drain(w->e, FAR, 0, 1);
        assert_int_equal(use(w, 2, FAR, true), MANAGED_E_OFFLINE);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, NEAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        assert_int_equal(w->answer, MANAGED_E_RATE);
}

static int prefetch(struct world *w, uint32_t first, uint32_t count, uint32_t node) {
        w->answer = 99;
        assert_int_equal(managed_migrate(w->e, w->range, first, count, node, MANAGED_BY_PREFETCH, 1, 1), 0);
        all(w);
        return w->answer;
}

static void assert_used(const struct world *w, uint32_t node, uint64_t granules) {
        struct managed_node_info info;

        managed_node_info(w->e, node, &info);
        assert_int_equal(info.used, granules * BYTES);
}

static void faultless_start(struct world *w) {
        managed_free(w->e);
        engine_start(w, 8, 8);
        managed_join(w->e, w->a, w->range, false, 1);
        assert_int_equal(managed_node_add(w->e, false, false, (4 + WORKERS) * BYTES, 0, NULL), FAR);
        w->log[0] = '\0';
}

/* What was never touched begins on a node without faults when it is prefetched there, and nowhere else. */
static void test_prefetched_first(void **state) {
        struct world *w = *state;

        faultless_start(w);
        assert_int_equal(prefetch(w, 0, 1, NEAR), 0);
        assert_int_equal(prefetch(w, 0, 1, HOST), 0);
        send(w, 0, FAR);
        all(w);
        assert_int_equal(w->answer, 0);
        expect(w, "");
        assert_int_equal(prefetch(w, 0, 2, FAR), 0);
        expect(w, "zero-slot OUT zero-slot OUT ");
        assert_int_equal(w->last[1].node, FAR);
        assert_int_equal(w->last[1].host, MANAGED_NOWHERE);
        assert_int_equal(w->last[1].cgroup, 0);
        assert_used(w, FAR, 2);
        assert_used(w, HOST, 0);
        assert_int_equal(prefetch(w, 0, 2, FAR), 0);
        expect(w, "");
        touch(w, w->a, 0);
        expect(w, "FILLING copy-in(a) RESIDENT ");
        assert_int_equal(managed_discard(w->e, w->range, 1, 1, 1, 1), 0);
        all(w);
        expect(w, "EMPTY ");
        assert_used(w, FAR, 0);
        assert_int_equal(prefetch(w, 8, 6, FAR), MANAGED_E_FULL);
        assert_used(w, FAR, 4);
        managed_node_drain(w->e, FAR, 0, 1);
        all(w);
        w->log[0] = '\0';
        assert_int_equal(prefetch(w, 2, 1, FAR), MANAGED_E_OFFLINE);
        expect(w, "");
}

/* Whoever touches it meanwhile gets it when it has settled. */
static void test_prefetched_and_touched(void **state) {
        const struct managed_step *s;
        struct world *w = *state;

        faultless_start(w);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, FAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        s = managed_take(w->e);
        assert_int_equal(s->type, MANAGED_ZERO_SLOT);
        assert_int_equal(s->node, FAR);
        assert_int_equal(managed_fault(w->e, w->a, w->range, 0, true, false, 1), 0);
        assert_null(managed_take(w->e));
        managed_complete(w->e, s, 0, 1);
        all(w);
        expect(w, "OUT FILLING copy-in(a) RESIDENT ");
        assert_int_equal(w->answer, 0);

        assert_int_equal(managed_discard(w->e, w->range, 0, 1, 0, 1), 0);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, FAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 0, 1), 0);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_PINNED);
        expect(w, "EMPTY punch FILLING zero(a) RESIDENT ");
}

/* Nothing is left of what failed: no record, no room taken. */
static void test_prefetched_in_vain(void **state) {
        const struct managed_step *s;
        struct world *w = *state;

        faultless_start(w);
        w->answer = 99;
        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, FAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        assert_true(one(w, -ENOMEM));
        all(w);
        assert_int_equal(w->answer, -ENOMEM);
        expect(w, "zero-slot ");
        assert_used(w, FAR, 0);

        assert_int_equal(managed_migrate(w->e, w->range, 0, 1, FAR, MANAGED_BY_PREFETCH, 1, 1), 0);
        s = managed_take(w->e);
        managed_node_lost(w->e, FAR, 1);
        managed_complete(w->e, s, 0, 1);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_OFFLINE);
        expect(w, "");
        assert_used(w, FAR, 0);
        managed_node_online(w->e, FAR, 1);
        for (unsigned long n = 1; n < 14; n++) {
                alloc_fail_at(n);
                if (managed_migrate(w->e, w->range, 0, 3, FAR, MANAGED_BY_PREFETCH, 1, 1))
                        assert_true(managed_idle(w->e));
                alloc_fail_off();
                all(w);
                assert_int_equal(managed_check(w->e), 0);
        }
        assert_used(w, FAR, 3);
        assert_true(managed_idle(w->e));
}

/* It is charged to the range's groups, and they may forbid it. */
static void test_prefetched_at_a_limit(void **state) {
        struct managed_group *g;
        struct world *w = *state;
        uint64_t used;

        faultless_start(w);
        assert_int_equal(managed_group_new(w->e, &g), 0);
        managed_group_limit(w->e, g, FAR, 2 * BYTES, 1);
        assert_int_equal(managed_range_new(w->e, &w->range, w, g, BYTES, 16, 7, false), 0);
        assert_int_equal(prefetch(w, 0, 3, FAR), MANAGED_E_FULL);
        managed_group_used(g, FAR, &used, NULL);
        assert_int_equal(used, 2 * BYTES);
        assert_int_equal(w->last[1].state, RESIDENCY_OUT);
        assert_int_equal(w->last[2].state, RESIDENCY_EMPTY);
        assert_int_equal(managed_check(w->e), 0);
}

static void full_start(struct world *w) {
        managed_free(w->e);
        engine_start(w, 4, 8);
        managed_join(w->e, w->a, w->range, false, 1);
        for (uint32_t g = 0; g < 12; g++)
                touch(w, w->a, g);
        w->log[0] = '\0';
}

static void test_full_everywhere(void **state) {
        struct world *w = *state;
        struct managed_node_info host, near;

        full_start(w);
        managed_node_info(w->e, HOST, &host);
        managed_node_info(w->e, NEAR, &near);
        assert_int_equal(host.used, host.capacity - host.reserve);
        assert_int_equal(near.used, near.capacity - near.reserve);
        send(w, 0, NEAR);
        send(w, 1, HOST);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_FULL);
        for (uint32_t round = 0; round < 5; round++)
                for (uint32_t g = 0; g < 12; g++)
                        assert_int_equal(managed_fault(w->e, w->a, w->range, g, true, false, 1), 0);
        all(w);
        for (uint32_t g = 0; g < 12; g++)
                touch(w, w->a, g);
        assert_true(managed_idle(w->e));
}

static void test_drain(void **state) {
        struct world *w = *state;
        struct managed_node_info near;

        for (uint32_t g = 0; g < 6; g++)
                touch(w, w->a, g);
        assert_int_equal(managed_migrate(w->e, w->range, 0, 4, NEAR, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w);
        w->answer = 99;
        managed_node_drain(w->e, NEAR, 2, 1);
        all(w);
        assert_int_equal(w->answer, 0);
        managed_node_info(w->e, NEAR, &near);
        assert_int_equal(near.used, 0);
        send(w, 0, NEAR);
        assert_int_equal(w->answer, MANAGED_E_OFFLINE);
        managed_node_online(w->e, NEAR, 1);
        send(w, 0, NEAR);
        all(w);
        assert_int_equal(w->answer, 0);
}

static void test_pin(void **state) {
        struct world *w = *state;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        all(w);
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 1, 1), 0);
        all(w);
        assert_int_equal(w->last[0].state, RESIDENCY_RESIDENT);
        send(w, 0, NEAR);
        assert_int_equal(w->answer, MANAGED_E_PINNED);
        assert_int_equal(managed_pin(w->e, w->range, 0, 16, 1, 1), MANAGED_E_FULL);
        assert_int_equal(managed_pin(w->e, w->range, 1, 5, 0, 1), 0);
        all(w);
        assert_int_equal(managed_pin(w->e, w->range, 6, 1, 0, 1), MANAGED_E_FULL);
        assert_int_equal(managed_pin(w->e, w->range, 0, 6, 0, 1), 0);
        all(w);
        managed_unpin(w->e, w->range, 0, 6, 1);
        managed_unpin(w->e, w->range, 0, 1, 1);
        send(w, 0, NEAR);
        all(w);
        assert_int_equal(w->last[0].state, RESIDENCY_OUT);
}

static int away(struct world *w, uint32_t granule) {
        w->answer = 99;
        assert_int_equal(managed_evict(w->e, w->range, granule, 1, 1, 1), 0);
        all(w);
        return w->answer;
}

static void test_evict(void **state) {
        struct world *w = *state;

        assert_int_equal(away(w, 0), 0);
        expect(w, "");
        touch(w, w->a, 0);
        w->log[0] = '\0';
        assert_int_equal(away(w, 0), 0);
        expect(w, "COPYING protect(a) protect(b) copy-out PUNCHING punch OUT ");
        assert_int_equal(w->last[0].node, NEAR);
        assert_int_equal(w->last[0].cause, MANAGED_BY_REQUEST);
        assert_int_equal(away(w, 0), 0);
        expect(w, "FILLING copy-in(a) RESIDENT ");
        managed_node_drain(w->e, NEAR, 0, 1);
        assert_int_equal(away(w, 0), MANAGED_E_FULL);
        managed_node_online(w->e, NEAR, 1);
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 0, 1), 0);
        assert_int_equal(away(w, 0), MANAGED_E_PINNED);
        assert_int_equal(managed_evict(w->e, w->range, 15, 2, 1, 1), -EINVAL);
}

static void test_revoke(void **state) {
        struct world *w = *state;

        managed_free(w->e);
        w->poison = true;
        engine_start(w, 8, 8);
        managed_join(w->e, w->a, w->range, false, 1);
        touch(w, w->a, 0);
        w->log[0] = '\0';
        assert_int_equal(managed_revoke(w->e, w->range, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        assert_int_equal(w->last[0].state, RESIDENCY_REVOKED);
        assert_non_null(strstr(w->log, "protect(a)"));
        assert_non_null(strstr(w->log, "PUNCHING"));
        assert_non_null(strstr(w->log, "OUT REVOKED"));
        assert_non_null(strstr(w->log, "poison(a)"));
        w->log[0] = '\0';
        touch(w, w->a, 0);
        expect(w, "");
        assert_int_equal(managed_join(w->e, w->b, w->range, false, 1), 0);
        all(w);
        expect(w, "poison(b) joined(b) ");
        assert_int_equal(managed_unrevoke(w->e, w->range, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        for (uint32_t g = 0; g < 8; g++)
                assert_int_not_equal(w->last[g].state, RESIDENCY_REVOKED);
        assert_non_null(strstr(w->log, "continue(b)"));
}

static void test_duplicate(void **state) {
        struct world *w = *state;
        struct managed_config c = {
                .workers = 2,
                .session_steps = 4,
                .largest = BYTES,
                .warm = 9 * BYTES,
                .profile = &w->profile,
                .decide = { .promote = duplicate, .prefetch = no_prefetch },
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        managed_free(w->e);
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, 10 * BYTES, 0, NULL);
        managed_node_add(w->e, false, true, 10 * BYTES, 0, NULL);
        managed_range_new(w->e, &w->range, w, NULL, BYTES, 16, 7, false);
        managed_session_new(w->e, &w->a, name_a, 7);
        managed_session_new(w->e, &w->b, name_b, 7);
        managed_join(w->e, w->a, w->range, false, 1);
        managed_join(w->e, w->b, w->range, false, 1);
        touch(w, w->a, 0);
        w->log[0] = '\0';
        assert_int_equal(managed_device_access(w->e, w->range, 0, NEAR, false, 1, 1), 0);
        all(w);
        expect(w, "COPYING protect(a) protect(b) copy-out DUPLICATED show ");
        managed_device_end(w->e, w->range, 0, 1);
        touch(w, w->a, 0);
        expect(w, "invalidate RESIDENT continue(a) unprotect(a) ");
}

static void vanish(struct world *w, uint32_t granule, bool lost) {
        struct managed_granule_info info;

        w->log[0] = '\0';
        alloc_fail_at(1); /* translations are not taken away yet */
        managed_node_lost(w->e, NEAR, 1);
        alloc_fail_off();
        assert_false(managed_device_begin(w->e, w->range, granule, NEAR, false));
        managed_node_capacity(w->e, HOST, (8 + WORKERS) * BYTES, 1); /* an input: they are now */
        all(w);
        managed_granule_info(w->range, granule, &info);
        assert_int_equal(info.lost, lost);
        assert_int_equal(managed_check(w->e), 0);
}

static void assert_refused(struct world *w, uint32_t granule) {
        send(w, granule, HOST);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_LOST);
        assert_int_equal(managed_pin(w->e, w->range, granule, 1, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_LOST);
        managed_unpin(w->e, w->range, granule, 1, 1);
        assert_int_equal(use(w, granule, NEAR, false), MANAGED_E_LOST);
}

/* What was there is refused and waited for, before and after the node is back, until it is discarded. */
static void test_lost(void **state) {
        struct managed_node_info info;
        struct world *w = *state;

        touch(w, w->a, 0);
        touch(w, w->a, 1);
        send(w, 0, NEAR);
        all(w);
        assert_int_equal(use(w, 0, NEAR, true), 0);
        vanish(w, 0, true);
        expect(w, "OUT invalidate ");
        assert_int_equal(w->last[0].node, NEAR);
        assert_int_equal(w->last[0].slot, MANAGED_NOWHERE);
        managed_node_info(w->e, NEAR, &info);
        assert_int_equal(info.used, 0);
        assert_int_equal(w->last[1].state, RESIDENCY_RESIDENT);
        assert_refused(w, 0);
        managed_node_online(w->e, NEAR, 1);
        assert_int_equal(use(w, 0, NEAR, true), MANAGED_E_LOST);
        w->log[0] = '\0';
        touch(w, w->a, 0);
        expect(w, "");
        assert_int_equal(managed_discard(w->e, w->range, 0, 1, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        expect(w, "EMPTY wake(a) wake(b) ");
        touch(w, w->a, 0);
        expect(w, "FILLING zero(a) RESIDENT ");
}

/* SIGBUS where the range asks for it; the discard ends that too. */
static void test_lost_poison(void **state) {
        struct world *w = *state;

        managed_free(w->e);
        w->poison = true;
        engine_start(w, 8, 8);
        managed_join(w->e, w->a, w->range, false, 1);
        touch(w, w->a, 0);
        send(w, 0, NEAR);
        all(w);
        vanish(w, 0, true);
        expect(w, "OUT ");
        touch(w, w->a, 0);
        expect(w, "poison(a) ");
        assert_int_equal(managed_discard(w->e, w->range, 0, 1, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        assert_non_null(strstr(w->log, "EMPTY wake(a)"));
        assert_non_null(strstr(w->log, "RESIDENT continue(a)"));
}

/* Steps that are out when the node vanishes, in each direction. */
static void test_lost_in_flight(void **state) {
        const struct managed_step *s;
        struct world *w = *state;

        touch(w, w->a, 0);
        send(w, 0, NEAR);
        while (w->last[0].state != RESIDENCY_PUNCHING)
                one(w, 0);
        vanish(w, 0, true);
        expect(w, "PUNCHING punch OUT ");
        managed_node_online(w->e, NEAR, 1);

        touch(w, w->a, 1);
        send(w, 1, NEAR);
        vanish(w, 1, false);
        expect(w, "protect(a) protect(b) copy-out RESIDENT ");
        assert_int_equal(w->answer, MANAGED_E_OFFLINE);
        managed_node_online(w->e, NEAR, 1);

        touch(w, w->a, 2);
        send(w, 2, NEAR);
        all(w);
        assert_int_equal(managed_fault(w->e, w->a, w->range, 2, true, false, 1), 0);
        s = managed_take(w->e);
        assert_int_equal(s->type, MANAGED_COPY_IN);
        managed_node_lost(w->e, NEAR, 1);
        w->log[0] = '\0';
        managed_complete(w->e, s, 0, 1);
        all(w);
        expect(w, "PUNCHING punch OUT ");
        assert_refused(w, 2);
        managed_node_online(w->e, NEAR, 1);

        touch(w, w->a, 3);
        send(w, 3, NEAR);
        all(w);
        assert_int_equal(managed_fault(w->e, w->a, w->range, 3, true, false, 1), 0);
        vanish(w, 3, true); /* the step has not been taken: it does not read */
        expect(w, "PUNCHING wake(a) PUNCHING punch OUT ");
}

/* A record of what is lost is believed after a restart. */
static void test_lost_restart(void **state) {
        static const enum residency states[] = { RESIDENCY_PUNCHING, RESIDENCY_OUT, RESIDENCY_REVOKED };
        struct world *w = *state;

        for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
                struct managed_record r = { .state = states[i], .node = NEAR, .slot = MANAGED_NOWHERE, .host = HOST };
                struct managed_granule_info info;

                managed_free(w->e);
                engine_start(w, 8, 8);
                assert_int_equal(managed_restore(w->e, w->range, &r), 0);
                assert_int_equal(managed_restored(w->e, 1), 0);
                all(w);
                assert_true(managed_settled(w->e));
                if (states[i] == RESIDENCY_REVOKED) {
                        assert_int_equal(managed_unrevoke(w->e, w->range, 1, 1), 0);
                        all(w);
                }
                managed_granule_info(w->range, 0, &info);
                assert_true(info.lost);
                assert_int_equal(info.node, NEAR);
                assert_refused(w, 0);
        }
}

/* Every state of which something was recorded, with the steps that settle it. */
static void test_restart(void **state) {
        static const struct {
                enum residency state;
                const char *log;
                bool on_node; /* whatever becomes of it */
        } cases[] = {
                { RESIDENCY_EMPTY, "punch wake(a) ", false },
                { RESIDENCY_RESIDENT, "punch wake(a) ", false },
                { RESIDENCY_COPYING, "RESIDENT punch wake(a) ", false },
                { RESIDENCY_PUNCHING, "punch OUT punch wake(a) ", true },
                { RESIDENCY_OUT, "punch wake(a) ", true },
                { RESIDENCY_FILLING, "copy-in(a) RESIDENT punch wake(a) ", true },
                { RESIDENCY_WRITING, "WRITING write CONTINUING RESIDENT punch wake(a) ", true },
                { RESIDENCY_CONTINUING, "RESIDENT punch wake(a) ", false },
                { RESIDENCY_DUPLICATED, "RESIDENT punch wake(a) ", false },
                { RESIDENCY_REVOKED, "punch wake(a) ", true },
        };
        struct world *w = *state;

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct managed_record r = { .state = cases[i].state, .node = NEAR, .slot = 5, .host = HOST };
                struct managed_node_info info;

                managed_free(w->e);
                engine_start(w, 8, 8);
                w->log[0] = '\0';
                assert_int_equal(managed_restore(w->e, w->range, &r), 0);
                assert_int_equal(managed_rejoin(w->e, w->a, w->range, false), 0);
                assert_int_equal(managed_restored(w->e, 1), 0);
                assert_false(managed_settled(w->e));
                all(w);
                assert_true(managed_settled(w->e));
                expect(w, cases[i].log);
                /* Of the slots before it nobody has any, and they have no space. */
                managed_node_info(w->e, NEAR, &info);
                assert_int_equal(info.used + info.warm, cases[i].on_node ? BYTES : 0);
        }
}

/* Two hosts, the second one with or without CPUs. */
static void add_host(struct world *w, bool far) {
        assert_int_equal(managed_node_add(w->e, true, false, (8 + WORKERS) * BYTES, 0, NULL), FAR);
        managed_node_shape(w->e, FAR, far, NULL);
}

static struct managed_granule_info look(struct world *w, uint32_t granule) {
        struct managed_granule_info info;

        managed_granule_info(w->range, granule, &info);
        return info;
}

static void expect_used(struct world *w, uint32_t node, uint64_t granules) {
        struct managed_node_info info;

        managed_node_info(w->e, node, &info);
        assert_int_equal(info.used, granules * BYTES);
}

/* By a slot there, in which a daemon that dies leaves it, and from which a touch brings it. */
static void test_to_another_host(void **state) {
        struct world *w = *state;

        add_host(w, false);
        touch(w, w->a, 3);
        assert_int_equal(look(w, 3).node, HOST);
        w->log[0] = '\0';
        send(w, 3, HOST);
        assert_int_equal(w->answer, 0);
        expect(w, "");
        send(w, 3, FAR);
        for (unsigned i = 0; i < 4; i++)
                assert_true(one(w, 0));
        expect(w, "COPYING protect(a) protect(b) copy-out PUNCHING punch OUT FILLING ");
        assert_int_equal(w->last[3].node, FAR);
        assert_int_equal(w->last[3].host, FAR);
        all(w);
        expect(w, "copy-in(a) RESIDENT free ");
        assert_int_equal(w->answer, 0);
        assert_int_equal(look(w, 3).node, FAR);
        expect_used(w, HOST, 0);
        expect_used(w, FAR, 1);
}

/* What a fault brings along is not what an order sends: it does not leave one host for another. */
static void test_host_is_full(void **state) {
        struct world *w = *state;

        add_host(w, false);
        for (uint32_t i = 0; i < 8; i++) {
                touch(w, w->a, i);
                send(w, i, FAR);
                all(w);
        }
        expect_used(w, FAR, 8);
        touch(w, w->a, 8);
        assert_int_equal(look(w, 8).node, HOST);
        send(w, 8, FAR);
        all(w);
        assert_int_equal(w->answer, MANAGED_E_FULL);
        assert_int_equal(look(w, 8).node, HOST);
}

/* Where a host has no CPUs, what is evicted stays in its slot until it is touched; nothing is mapped there. */
static void test_cold(void **state) {
        struct world *w = *state;

        add_host(w, true);
        touch(w, w->a, 3);
        w->log[0] = '\0';
        assert_int_equal(managed_evict(w->e, w->range, 3, 1, 1, 1), 0);
        all(w);
        assert_int_equal(w->answer, 0);
        if (look(w, 3).node == NEAR) { /* this policy has no opinion */
                send(w, 3, HOST);
                all(w);
        }
        w->log[0] = '\0';
        managed_node_drain(w->e, NEAR, 0, 1);
        assert_int_equal(managed_evict(w->e, w->range, 3, 1, 1, 1), 0);
        all(w);
        expect(w, "COPYING protect(a) protect(b) copy-out PUNCHING punch OUT ");
        assert_int_equal(look(w, 3).node, FAR);
        expect_used(w, FAR, 1);
        touch(w, w->b, 3);
        expect(w, "FILLING copy-in(b) RESIDENT free ");
        assert_int_equal(look(w, 3).node, HOST);
        expect_used(w, FAR, 0);
}

/* A device is not shown a slot of a host: the granule comes in first. */
static void test_shown_of_a_host(void **state) {
        struct world *w = *state;

        add_host(w, true);
        touch(w, w->a, 3);
        managed_node_drain(w->e, NEAR, 0, 1);
        assert_int_equal(managed_evict(w->e, w->range, 3, 1, 1, 1), 0);
        all(w);
        assert_int_equal(look(w, 3).state, RESIDENCY_OUT);
        w->log[0] = '\0';
        assert_int_equal(managed_device_access(w->e, w->range, 3, NEAR, true, 1, 1), 0);
        all(w);
        expect(w, "FILLING copy-in(a) RESIDENT free show ");
        assert_int_equal(w->answer, 0);
        managed_device_end(w->e, w->range, 3, 1);
}

/* Neither a range that is made while others settle is waited for, nor one that ends. */
static void test_ranges_come_and_go_in_a_restart(void **state) {
        struct managed_record r = { .state = RESIDENCY_OUT, .node = NEAR, .slot = 5, .host = HOST };
        struct managed_range *ends, *comes;
        struct world *w = *state;

        for (unsigned early = 0; early < 2; early++) {
                managed_free(w->e);
                engine_start(w, 8, 8);
                assert_int_equal(managed_range_new(w->e, &ends, w, NULL, BYTES, 2, 7, false), 0);
                assert_int_equal(managed_restore(w->e, w->range, &r), 0);
                assert_int_equal(managed_restore(w->e, ends, &(struct managed_record){ .state = RESIDENCY_EMPTY }), 0);
                assert_int_equal(managed_rejoin(w->e, w->a, w->range, false), 0);
                assert_int_equal(managed_restored(w->e, 1), 0);
                assert_int_equal(managed_range_new(w->e, &comes, w, NULL, BYTES, 2, 7, false), 0);
                if (early)
                        managed_range_end(w->e, ends, 5, 1);
                all(w);
                assert_true(managed_settled(w->e));
                assert_int_equal(managed_migrate(w->e, w->range, 0, 1, HOST, MANAGED_BY_REQUEST, 1, 1), 0);
                all(w);
                assert_int_equal(w->answer, 0);
                assert_int_equal(w->last[0].state, RESIDENCY_RESIDENT);
        }
}

static void test_range_end(void **state) {
        struct world *w = *state;
        struct managed_node_info host;

        touch(w, w->a, 0);
        touch(w, w->a, 1);
        assert_int_equal(managed_device_access(w->e, w->range, 0, NEAR, true, 1, 1), 0);
        all(w);
        send(w, 1, NEAR);
        managed_range_end(w->e, w->range, 5, 1);
        all(w);
        managed_device_end(w->e, w->range, 0, 1);
        all(w);
        managed_node_info(w->e, HOST, &host);
        assert_int_equal(host.used, 0);
        assert_true(managed_idle(w->e));
}

/* Every allocation of every input fails once; then nothing has happened, and the same input works. */
static void test_no_memory(void **state) {
        struct world *w = *state;

        for (unsigned long n = 1; n < 4; n++) {
                int k;

                alloc_fail_at(n);
                k = managed_fault(w->e, w->a, w->range, (uint32_t)n, true, false, 1);
                alloc_fail_off();
                assert_int_equal(managed_check(w->e), 0);
                if (k)
                        assert_int_equal(k, -ENOMEM);
                touch(w, w->a, (uint32_t)n);
                assert_int_equal(w->last[n].state, RESIDENCY_RESIDENT);
        }
        for (unsigned long n = 1; n < 14; n++) {
                alloc_fail_at(n);
                if (managed_migrate(w->e, w->range, 0, 4, NEAR, MANAGED_BY_REQUEST, 1, 1))
                        assert_true(managed_idle(w->e));
                alloc_fail_off();
                all(w);
                assert_int_equal(managed_check(w->e), 0);
        }
        for (uint32_t g = 1; g < 4; g++)
                assert_int_equal(w->last[g].state, RESIDENCY_OUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_out_and_in),
                T(test_faults_wait),
                T(test_copy_fails),
                T(test_payers),
                T(test_payer_ends),
                T(test_payer_full),
                T(test_join_in_flight),
                T(test_readonly),
                T(test_leave_and_join),
                T(test_slow_session),
                T(test_neighbours),
                T(test_device),
                T(test_full_everywhere),
                T(test_lost),
                T(test_lost_poison),
                T(test_lost_in_flight),
                T(test_lost_restart),
                T(test_drain),
                T(test_pin),
                T(test_revoke),
                T(test_duplicate),
                T(test_ranges_come_and_go_in_a_restart),
                T(test_restart),
                T(test_to_another_host),
                T(test_host_is_full),
                T(test_cold),
                T(test_shown_of_a_host),
                T(test_range_end),
                T(test_no_memory),
                T(test_evict),
                T(test_no_faults),
                T(test_prefetched_first),
                T(test_prefetched_and_touched),
                T(test_prefetched_in_vain),
                T(test_prefetched_at_a_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
