/*
 * What a range keeps of its last decisions: each kind of them, runs of neighbours, both rings' bounds; and in random
 * operations the last one that is kept of a granule is the last that was recorded of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/history.h"

enum { BYTES = 4096, HOST, NEAR, OLD, SMALL, NODES, WORKERS = 2, COUNT = 512, TAG = 77 };
static const uint32_t bandwidth[NODES] = { 1, 1, 1, 1 };

struct world {
        struct managed *e;
        struct managed_range *range;
        struct managed_session *session;
        struct managed_group *group;
        struct managed_record last[COUNT]; /* that says of what lies somewhere */
        uint64_t now;
        bool holds; /* device operations do not end */
        int answer;
};

static void on_intent(void *userdata, const struct managed_record *r) {
        struct world *w = userdata;

        if (r->state != RESIDENCY_OUT && r->state != RESIDENCY_RESIDENT)
                return;
        w->last[r->granule] = *r;
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

static uint32_t node(unsigned which) {
        return which - HOST;
}

static int setup(void **state) {
        struct world *w = calloc(1, sizeof(*w));
        struct managed_config c = {
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = COUNT * BYTES,
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        w->now = 1000;
        assert_int_equal(managed_new(&w->e, &c), 0);
        managed_node_add(w->e, true, false, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, false, (COUNT + WORKERS) * BYTES, 0, bandwidth);
        managed_node_add(w->e, false, true, (8 + WORKERS) * BYTES, 0, bandwidth);
        assert_int_equal(managed_group_new(w->e, &w->group), 0);
        assert_int_equal(managed_range_new(w->e, &w->range, w, w->group, BYTES, COUNT, 7, false), 0);
        managed_range_tag(w->range, TAG);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, w->now), 0);
        all(w);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        struct world *w = *state;

        managed_free(w->e);
        free(w);
        return 0;
}

static void touch(struct world *w, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, w->session, w->range, granule, true, false, w->now), 0);
        all(w);
}

static int migrate(struct world *w, uint32_t first, uint32_t count, unsigned to, enum managed_cause cause) {
        w->answer = 99;
        assert_int_equal(managed_migrate(w->e, w->range, first, count, node(to), cause, 1, w->now), 0);
        all(w);
        return w->answer;
}

static int use(struct world *w, uint32_t granule, unsigned by, bool write) {
        w->answer = 99;
        assert_int_equal(managed_device_access(w->e, w->range, granule, node(by), write, 1, w->now), 0);
        all(w);
        if (!w->answer && !w->holds)
                managed_device_end(w->e, w->range, granule, w->now);
        all(w);
        return w->answer;
}

static unsigned history(struct world *w, uint32_t granule, bool not_done, struct managed_past *ret) {
        struct managed_past p[MANAGED_PASTS];
        unsigned n = managed_history(w->range, granule, not_done, p, MANAGED_PASTS);

        for (unsigned i = 0; i < n; i++) {
                assert_true(granule - p[i].first < p[i].count);
                assert_true(!i || p[i].ns <= p[i - 1].ns);
                assert_true(p[i].began_ns <= p[i].ns);
        }
        if (n)
                *ret = p[0];
        return n;
}

static void is(struct world *w, uint32_t granule, enum managed_deed deed, enum managed_why why,
               enum managed_cause cause, unsigned by, unsigned from, unsigned to) {
        bool not_done = deed == MANAGED_REFUSED || deed == MANAGED_DELAYED;
        struct managed_past p;

        assert_true(history(w, granule, not_done, &p) > 0);
        assert_int_equal(p.deed, deed);
        assert_int_equal(p.why, why);
        assert_int_equal(p.cause, cause);
        assert_int_equal(p.by, by);
        assert_int_equal(p.from, from);
        assert_int_equal(p.to, to);
        assert_int_equal(p.ns, w->now);
}

#define NONE      MANAGED_PAST_NONE
#define CPU       MANAGED_PAST_CPU
#define AT(which) ((unsigned)(which)-HOST)

static void test_runs(void **state) {
        struct world *w = *state;
        struct managed_past p;

        assert_int_equal(history(w, 3, false, &p), 0);
        for (uint32_t i = 10; i < 20; i++)
                touch(w, i);
        touch(w, 9);
        is(w, 9, MANAGED_BEGAN, MANAGED_WHY_NONE, MANAGED_BY_FAULT, CPU, NONE, AT(HOST));
        assert_int_equal(history(w, 15, false, &p), 1);
        assert_int_equal(p.first, 9);
        assert_int_equal(p.count, 11);
        assert_int_equal(p.times, 11);
        touch(w, 22);
        touch(w, 23);
        touch(w, 21); /* out of order: two runs become one when the gap is closed */
        touch(w, 20);
        assert_int_equal(history(w, 23, false, &p), 1);
        assert_true(p.first == 9 && p.count == 15 && p.times == 15);
        assert_int_equal(history(w, 24, false, &p), 0);
        assert_int_equal(history(w, 8, false, &p), 0);
        w->now += 2000000000;
        touch(w, 24);
        assert_int_equal(history(w, 24, false, &p), 1);
        assert_int_equal(p.count, 1);
}

static void test_deeds(void **state) {
        struct world *w = *state;

        touch(w, 0);
        w->now += 1000000;
        assert_int_equal(migrate(w, 0, 1, NEAR, MANAGED_BY_REQUEST), 0);
        is(w, 0, MANAGED_MOVED, MANAGED_WHY_NONE, MANAGED_BY_REQUEST, NONE, AT(HOST), AT(NEAR));
        w->now++;
        touch(w, 0);
        is(w, 0, MANAGED_MOVED, MANAGED_WHY_NONE, MANAGED_BY_FAULT, CPU, AT(NEAR), AT(HOST));
        w->now++;
        assert_int_equal(use(w, 0, NEAR, true), 0);
        is(w, 0, MANAGED_MOVED, MANAGED_WHY_NONE, MANAGED_BY_DEVICE, AT(NEAR), AT(HOST), AT(NEAR));
        w->now++;
        assert_int_equal(managed_discard(w->e, w->range, 0, 1, 1, w->now), 0);
        all(w);
        is(w, 0, MANAGED_DISCARDED, MANAGED_WHY_NONE, MANAGED_BY_REQUEST, NONE, AT(NEAR), NONE);
        w->now++;
        assert_int_equal(use(w, 0, NEAR, true), 0);
        is(w, 0, MANAGED_BEGAN, MANAGED_WHY_NONE, MANAGED_BY_DEVICE, AT(NEAR), NONE, AT(NEAR));
        w->now++;
        assert_int_equal(managed_revoke(w->e, w->range, 1, w->now), 0);
        all(w);
        is(w, 0, MANAGED_TAKEN, MANAGED_WHY_NONE, MANAGED_BY_REVOKE, NONE, AT(NEAR), AT(NEAR));
        w->now++;
        assert_int_equal(use(w, 0, NEAR, true), MANAGED_E_REVOKED);
        is(w, 0, MANAGED_REFUSED, MANAGED_WHY_REVOKED, MANAGED_BY_DEVICE, AT(NEAR), AT(NEAR), AT(NEAR));
        assert_int_equal(managed_unrevoke(w->e, w->range, 1, w->now), 0);
        all(w);
        is(w, 0, MANAGED_RETURNED, MANAGED_WHY_NONE, MANAGED_BY_REVOKE, NONE, AT(NEAR), AT(NEAR));
}

static void test_not_done(void **state) {
        struct world *w = *state;
        struct managed_past p;

        touch(w, 0);
        assert_int_equal(use(w, 0, OLD, true), -14);
        is(w, 0, MANAGED_REFUSED, MANAGED_WHY_FAULTLESS, MANAGED_BY_DEVICE, AT(OLD), AT(HOST), AT(OLD));
        assert_int_equal(managed_pin(w->e, w->range, 0, 1, 1, w->now), 0);
        all(w);
        w->now++;
        assert_int_equal(migrate(w, 0, 1, NEAR, MANAGED_BY_REQUEST), MANAGED_E_PINNED);
        is(w, 0, MANAGED_REFUSED, MANAGED_WHY_PINNED, MANAGED_BY_REQUEST, NONE, AT(HOST), AT(NEAR));
        w->now++;
        assert_int_equal(use(w, 0, NEAR, true), 0); /* shown where it is */
        is(w, 0, MANAGED_MAPPED, MANAGED_WHY_PINNED, MANAGED_BY_DEVICE, AT(NEAR), AT(HOST), AT(HOST));
        managed_unpin(w->e, w->range, 0, 1, w->now);
        managed_group_limit(w->e, w->group, node(SMALL), BYTES, w->now);
        touch(w, 1);
        assert_int_equal(migrate(w, 0, 2, SMALL, MANAGED_BY_REQUEST), MANAGED_E_FULL);
        is(w, 1, MANAGED_REFUSED, MANAGED_WHY_LIMIT, MANAGED_BY_REQUEST, NONE, AT(HOST), AT(SMALL));
        managed_node_drain(w->e, node(SMALL), 0, w->now);
        all(w);
        assert_int_equal(migrate(w, 1, 1, SMALL, MANAGED_BY_REQUEST), MANAGED_E_OFFLINE);
        is(w, 1, MANAGED_REFUSED, MANAGED_WHY_OFFLINE, MANAGED_BY_REQUEST, NONE, AT(HOST), AT(SMALL));
        assert_true(history(w, 0, false, &p) > 0);
        assert_true(p.deed == MANAGED_MOVED && p.cause == MANAGED_BY_DRAIN && p.from == AT(SMALL) && p.to != p.from);
}

/* A device uses it: what would move it waits. */
static void test_used(void **state) {
        struct world *w = *state;

        w->holds = true;
        assert_int_equal(use(w, 0, NEAR, true), 0);
        w->now++;
        assert_int_equal(managed_fault(w->e, w->session, w->range, 0, true, false, w->now), 0);
        all(w);
        is(w, 0, MANAGED_DELAYED, MANAGED_WHY_USED, MANAGED_BY_FAULT, CPU, AT(NEAR), AT(HOST));
        managed_device_end(w->e, w->range, 0, w->now);
        all(w);
        is(w, 0, MANAGED_MOVED, MANAGED_WHY_NONE, MANAGED_BY_FAULT, CPU, AT(NEAR), AT(HOST));
}

/* Who makes room for whom. */
static void test_evicted(void **state) {
        struct world *w = *state;
        struct managed_past p;
        bool told = false;

        for (uint32_t i = 0; i < 8 + WORKERS + 2; i++) {
                touch(w, i);
                w->now += 200000000; /* cold again */
                assert_int_equal(use(w, i, SMALL, true), 0);
        }
        for (uint32_t i = 0; i < 8; i++) {
                if (!history(w, i, false, &p) || p.cause != MANAGED_BY_EVICTION)
                        continue;
                assert_int_equal(p.deed, MANAGED_MOVED);
                assert_int_equal(p.from, AT(SMALL));
                assert_true(p.why == MANAGED_WHY_RESERVE || (p.why == MANAGED_WHY_ROOM && p.whom == TAG));
                told = true;
        }
        assert_true(told);
}

/* A storm of decisions stays within the rings; both keep the latest. */
static void test_bounded(void **state) {
        struct world *w = *state;
        struct managed_past p;
        unsigned kept = 0;

        for (uint32_t i = 0; i < COUNT; i += 2) {
                touch(w, i);
                assert_int_equal(use(w, i, OLD, false), -14);
        }
        for (uint32_t i = 0; i < COUNT; i += 2)
                kept += history(w, i, false, &p);
        assert_int_equal(kept, MANAGED_PASTS);
        assert_int_equal(history(w, COUNT - 2, false, &p), 1);
        kept = 0;
        for (uint32_t i = 0; i < COUNT; i += 2)
                kept += history(w, i, true, &p);
        assert_int_equal(kept, MANAGED_NOT_DONE);
        assert_int_equal(history(w, 0, false, &p), 0);
}

/* ---- random ---- */

static uint32_t below(unsigned *seed, uint32_t n) {
        return (uint32_t)rand_r(seed) % n;
}

static void step(struct world *w, unsigned *seed) {
        uint32_t granule = below(seed, 24);

        w->now += below(seed, 3) ? 1000 : 20000000;
        switch (below(seed, 6)) {
        case 0:
        case 1: touch(w, granule); break;
        case 2: use(w, granule, NEAR + below(seed, 3), below(seed, 2)); break;
        case 3: migrate(w, granule, 1 + below(seed, 4), HOST + below(seed, NODES - HOST), MANAGED_BY_REQUEST); break;
        case 4: migrate(w, granule, 1, HOST + below(seed, NODES - HOST), MANAGED_BY_ADVICE); break;
        default:
                assert_int_equal(managed_evict(w->e, w->range, granule, 1, 1, w->now), 0);
                all(w);
                break;
        }
}

/* The latest move that is kept is the one that brought the granule where it is. */
static void check(struct world *w, uint32_t granule) {
        struct managed_past p[MANAGED_PASTS];
        unsigned n = managed_history(w->range, granule, false, p, MANAGED_PASTS);
        const struct managed_record *last = &w->last[granule];

        for (unsigned i = 0; i < n; i++) {
                if (p[i].deed != MANAGED_MOVED && p[i].deed != MANAGED_BEGAN)
                        continue;
                assert_int_equal(p[i].cause, last->cause);
                assert_int_equal(p[i].to, last->state == RESIDENCY_OUT ? last->node : last->host);
                return;
        }
}

static void test_random(void **state) {
        struct world *w = *state;
        unsigned seed = (unsigned)time(NULL), given = seed;

        if (getenv("SVMD_SEED"))
                given = seed = (unsigned)strtoul(getenv("SVMD_SEED"), NULL, 0);
        print_message("seed %u\n", given);
        for (unsigned i = 0; i < 20000; i++) {
                step(w, &seed);
                for (uint32_t g = 0; g < 28; g++)
                        check(w, g);
        }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_runs),    TEST(test_deeds),   TEST(test_not_done), TEST(test_used),
                TEST(test_evicted), TEST(test_bounded), TEST(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
