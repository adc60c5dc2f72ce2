/*
 * Chains: a range is charged to its partition, and to groups of sessions and control groups that overlap as they like.
 * Directed cases, then random courses from a printed seed: whatever is touched, moved, pinned and changed, and whoever
 * is charged for it, each group's sum is that of its ranges, and no limit is passed by more than a swap takes. Where
 * there is a node that takes everything, none is passed when nothing goes on any more.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/managed.h"

enum { BYTES = 65536, NODES = 3, WORKERS = 3, COUNT = 20, RANGES = 6, CHAINS = 4, NONE = CHAINS };
enum { HOST, NEAR, FAR_OFF };
/* Partitions, then control groups, of which the second lies in the first; then sessions'. */
enum { PARTITIONS = 2, OUTER = PARTITIONS, INNER, SESSION, GROUPS = SESSION + CHAINS };
static const uint32_t bandwidth[NODES] = { 1, 1, 1 };

struct world {
        struct managed *e;
        struct managed_group *group[GROUPS];
        struct managed_chain *chain[CHAINS];
        struct managed_range *range[RANGES];
        struct managed_session *session;
        struct managed_record last[RANGES][COUNT];
        bool in[CHAINS][GROUPS];                /* beside the partition's */
        unsigned partition[RANGES], of[RANGES]; /* of: chain, or NONE */
        uint64_t limit[GROUPS][NODES], low[GROUPS][NODES], min[GROUPS][NODES], before[GROUPS][NODES];
        bool pinned[RANGES][COUNT];
        bool roomy; /* the last node takes everything */
        int answer;
        unsigned first, seed;
};

static struct world world;

static void on_intent(void *userdata, const struct managed_record *r) {
        ((struct managed_record *)r->range)[r->granule] = *r;
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

/* Chain 0 and 2 are of the first partition, 1 and 3 of the second. */
static unsigned partition_of(unsigned chain) {
        return chain % PARTITIONS;
}

static void chain_tell(struct world *w, unsigned chain) {
        static const unsigned order[] = { INNER, OUTER };
        struct managed_group *groups[GROUPS];
        unsigned count = 0;

        if (w->in[chain][SESSION + chain])
                groups[count++] = w->group[SESSION + chain];
        for (unsigned i = 0; i < 2; i++)
                if (w->in[chain][order[i]])
                        groups[count++] = w->group[order[i]];
        managed_chain_set(w->e, w->chain[chain], groups, count, 1);
}

static void bounds_tell(struct world *w, unsigned group, unsigned node) {
        struct managed_node_share s = { COUNT * RANGES * BYTES, 0 };
        struct managed_group_bounds b = { .group = w->group[group] };

        b.bounds.max = w->limit[group][node] == UINT64_MAX ? UINT64_MAX : w->limit[group][node] * BYTES;
        b.bounds.low = w->low[group][node] * BYTES;
        b.bounds.min = w->min[group][node] * BYTES;
        managed_share_node(w->e, node, &s, &b, 1, 1);
}

static void start(struct world *w) {
        static struct policy_profile profile;
        struct managed_config c = {
                .profile = &profile,
                .workers = WORKERS,
                .session_steps = 4,
                .largest = BYTES,
                .warm = 100 * BYTES,
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };

        profile = *policy_profile_default();
        profile.settle_us = profile.window_moves = 0;
        profile.leaf_kib = profile.ahead_kib = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        for (unsigned i = 0; i < NODES; i++)
                managed_node_add(w->e, i == HOST, i != HOST, COUNT * RANGES * BYTES, 0, bandwidth);
        for (unsigned i = 0; i < GROUPS; i++)
                assert_int_equal(managed_group_new(w->e, &w->group[i]), 0);
        for (unsigned i = 0; i < CHAINS; i++) {
                assert_int_equal(managed_chain_new(w->e, &w->chain[i], w->group[partition_of(i)]), 0);
                chain_tell(w, i);
        }
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        for (unsigned i = 0; i < RANGES; i++) {
                assert_int_equal(managed_range_new(w->e, &w->range[i], w->last[i], w->group[w->partition[i]], BYTES,
                                                   COUNT, 7, false),
                                 0);
                if (w->of[i] != NONE)
                        managed_range_charge(w->e, w->range[i], w->chain[w->of[i]], 1);
        }
        for (unsigned g = 0; g < GROUPS; g++)
                for (unsigned n = 0; n < NODES; n++)
                        bounds_tell(w, g, n);
}

static int setup(void **state) {
        struct world *w = &world;

        memset(w, 0, sizeof(*w));
        memset(w->limit, 0xff, sizeof(w->limit));
        for (unsigned i = 0; i < RANGES; i++) {
                w->of[i] = i < CHAINS ? i : NONE;
                w->partition[i] = i % PARTITIONS;
        }
        start(w);
        for (unsigned i = 0; i < RANGES; i++)
                assert_int_equal(managed_join(w->e, w->session, w->range[i], false, 1), 0);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        managed_free(world.e);
        return 0;
}

static uint64_t used(struct world *w, unsigned group, unsigned node) {
        uint64_t bytes = 0;

        managed_group_used(w->group[group], node, &bytes, NULL);
        return bytes / BYTES;
}

static bool is_charged(const struct world *w, unsigned range, unsigned group) {
        return group < PARTITIONS ? w->partition[range] == group : w->of[range] != NONE && w->in[w->of[range]][group];
}

static uint64_t larger(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

static void check(struct world *w) {
        if (managed_check(w->e))
                fail_msg("seed %u: a sum is wrong", w->first);
        for (unsigned g = 0; g < GROUPS; g++)
                for (unsigned n = 0; n < NODES; n++) {
                        uint64_t sum = 0, most = larger(w->limit[g][n], w->before[g][n]);

                        for (unsigned i = 0; i < RANGES; i++)
                                sum += is_charged(w, i, g) ? managed_range_used(w->range[i], n) / BYTES : 0;
                        if (sum != used(w, g, n))
                                fail_msg("seed %u: group %u has %lu on node %u, and is said to have %lu", w->first, g,
                                         sum, n, used(w, g, n));
                        if (most != UINT64_MAX && sum > most + WORKERS)
                                fail_msg("seed %u: group %u has %lu on node %u, with a limit of %lu", w->first, g, sum,
                                         n, w->limit[g][n]);
                }
}

static uint64_t waiting(struct world *w, unsigned node) {
        struct managed_node_info info;

        managed_node_info(w->e, node, &info);
        return info.waiting;
}

/* When nothing goes on: what is above a limit is pinned, wanted by a touch that waits, or has no other place. */
static void rest(struct world *w) {
        bool strict = w->roomy;

        for (unsigned n = 0; n < NODES; n++)
                strict &= waiting(w, n) == 0;
        for (unsigned g = 0; g < GROUPS; g++)
                for (unsigned n = 0; n < NODES; n++) {
                        uint64_t pins = 0;

                        for (unsigned i = 0; i < RANGES; i++)
                                for (unsigned k = 0; is_charged(w, i, g) && k < COUNT; k++)
                                        pins += w->pinned[i][k];
                        if (strict && used(w, g, n) > larger(w->limit[g][n], pins))
                                fail_msg("seed %u: group %u stays at %lu on node %u, with a limit of %lu", w->first, g,
                                         used(w, g, n), n, w->limit[g][n]);
                        w->before[g][n] = used(w, g, n);
                }
}

static void all(struct world *w) {
        const struct managed_step *s;

        check(w);
        for (unsigned n = 0; (s = managed_take(w->e)); n++) {
                managed_complete(w->e, s, 0, 1);
                check(w);
                if (n > 100000)
                        fail_msg("seed %u: no end", w->first);
        }
        if (!managed_idle(w->e))
                fail_msg("seed %u: not idle", w->first);
        rest(w);
}

static void limit(struct world *w, unsigned group, unsigned node, uint64_t granules) {
        for (unsigned g = 0; g < GROUPS; g++)
                w->before[g][node] = used(w, g, node);
        w->limit[group][node] = granules;
        bounds_tell(w, group, node);
        all(w);
}

/* What is charged changes hands with what it has. */
static void before_change(struct world *w) {
        for (unsigned g = 0; g < GROUPS; g++)
                for (unsigned n = 0; n < NODES; n++) {
                        w->before[g][n] = 0;
                        for (unsigned i = 0; i < RANGES; i++)
                                if (is_charged(w, i, g))
                                        w->before[g][n] += managed_range_used(w->range[i], n) / BYTES;
                }
}

static void set_in(struct world *w, unsigned chain, unsigned group, bool in) {
        w->in[chain][group] = in;
        before_change(w);
        chain_tell(w, chain);
        all(w);
}

static void charge(struct world *w, unsigned range, unsigned chain) {
        w->of[range] = chain;
        before_change(w);
        managed_range_charge(w->e, w->range[range], chain == NONE ? NULL : w->chain[chain], 1);
        all(w);
}

static void touch(struct world *w, unsigned range, uint32_t granule) {
        assert_int_equal(managed_fault(w->e, w->session, w->range[range], granule, true, false, 1), 0);
        all(w);
}

static void fill(struct world *w, unsigned range, uint32_t count) {
        for (uint32_t g = 0; g < count; g++)
                touch(w, range, g);
}

/* ---- directed ---- */

/* The least of the limits holds; what leaves is of the group that is full. */
static void test_least_limit(void **state) {
        struct world *w = *state;

        set_in(w, 0, SESSION, true);
        set_in(w, 0, OUTER, true);
        set_in(w, 1, OUTER, true);
        limit(w, SESSION, HOST, 4);
        limit(w, OUTER, HOST, 10);
        limit(w, 0, HOST, 12);
        fill(w, 4, 6);
        fill(w, 0, 8);
        assert_int_equal(used(w, SESSION, HOST), 4);
        assert_int_equal(used(w, OUTER, HOST), 4);
        assert_int_equal(used(w, 0, HOST), 10);
        fill(w, 1, 12); /* the other partition's, in the same control group */
        assert_int_equal(used(w, OUTER, HOST), 10);
        assert_int_equal(managed_range_used(w->range[4], HOST) / BYTES, 6);
        fill(w, 4, 12);
        assert_int_equal(used(w, 0, HOST), 12);
}

/* Lowered, or set at all when something is there: managed granules leave, of that group alone. */
static void test_lowered(void **state) {
        struct world *w = *state;

        for (unsigned i = 0; i < RANGES; i++)
                fill(w, i, 8);
        limit(w, SESSION + 2, HOST, 3);
        assert_int_equal(used(w, 0, HOST), 24);
        set_in(w, 2, SESSION + 2, true);
        assert_int_equal(used(w, SESSION + 2, HOST), 3);
        assert_int_equal(used(w, 0, HOST), 19);
        assert_int_equal(used(w, 1, HOST), 24);
        set_in(w, 0, OUTER, true);
        set_in(w, 3, OUTER, true);
        limit(w, OUTER, HOST, 5);
        assert_int_equal(used(w, OUTER, HOST), 5);
        assert_int_equal(used(w, OUTER, NEAR) + used(w, OUTER, FAR_OFF), 11);
        assert_int_equal(managed_range_used(w->range[1], HOST) / BYTES, 8);
}

/* Its session has ended: the range counts for its partition alone. */
static void test_left_to_partition(void **state) {
        struct world *w = *state;

        set_in(w, 0, SESSION, true);
        limit(w, SESSION, HOST, 4);
        fill(w, 0, 8);
        charge(w, 0, NONE);
        assert_int_equal(used(w, SESSION, HOST), 0);
        fill(w, 0, 8);
        assert_int_equal(used(w, 0, HOST), 8);
        charge(w, 0, 0);
        assert_int_equal(used(w, SESSION, HOST), 4);
        managed_chain_free(w->e, w->chain[0]);
        w->of[0] = NONE;
        check(w);
        assert_int_equal(managed_chain_new(w->e, &w->chain[0], w->group[0]), 0);
}

/* Who waits for its own limit keeps nobody of its partition waiting; who waits for the partition's, those alone who
 * want that. */
static void test_waits_alone(void **state) {
        struct world *w = *state;

        for (unsigned n = NEAR; n < NODES; n++)
                limit(w, SESSION, n, 0);
        limit(w, SESSION, HOST, 2);
        set_in(w, 0, SESSION, true);
        fill(w, 0, 10);
        assert_int_equal(waiting(w, HOST), 8 - WORKERS);
        fill(w, 2, 5);
        fill(w, 4, 5);
        assert_int_equal(waiting(w, HOST), 8 - WORKERS);
        for (unsigned n = NEAR; n < NODES; n++)
                limit(w, 0, n, 0);
        limit(w, 0, HOST, 12); /* it has 15, which may stay */
        fill(w, 2, 5 + WORKERS + 2);
        assert_int_equal(waiting(w, HOST), 10 - WORKERS);
        touch(w, 4, 5);
        fill(w, 1, 12);
        assert_int_equal(waiting(w, HOST), 11 - WORKERS);
        limit(w, 0, HOST, 20);
        assert_int_equal(waiting(w, HOST), 8 - WORKERS);
        set_in(w, 0, SESSION, false);
        limit(w, 0, HOST, 2 * COUNT);
        assert_int_equal(waiting(w, HOST), 0);
}

/* With everybody of the chain full everywhere a swap goes on, and nobody is above a limit behind it. */
static void test_swap(void **state) {
        struct world *w = *state;

        for (unsigned n = 0; n < NODES; n++) {
                limit(w, SESSION, n, n == FAR_OFF ? 0 : 5);
                limit(w, OUTER, n, n == FAR_OFF ? 0 : 7);
                limit(w, 0, n, n == FAR_OFF ? 0 : 9);
        }
        set_in(w, 0, SESSION, true);
        set_in(w, 0, OUTER, true);
        set_in(w, 2, OUTER, true);
        for (unsigned round = 0; round < 4; round++) {
                fill(w, 0, 10);
                fill(w, 2, 4);
                fill(w, 4, 4);
                assert_int_equal(used(w, 0, HOST) + used(w, 0, NEAR), 18);
                for (unsigned n = 0; n < NODES; n++) {
                        assert_true(used(w, SESSION, n) <= w->limit[SESSION][n]);
                        assert_true(used(w, OUTER, n) <= w->limit[OUTER][n]);
                        assert_true(used(w, 0, n) <= w->limit[0][n]);
                }
        }
        assert_int_equal(waiting(w, HOST), 0);
}

/* What has no more than its low goes last when the partition makes room for itself. */
static void test_low_in_partition(void **state) {
        struct world *w = *state;

        set_in(w, 0, SESSION, true);
        w->low[SESSION][HOST] = 6;
        bounds_tell(w, SESSION, HOST);
        fill(w, 0, 6);
        limit(w, 0, HOST, 10);
        fill(w, 2, 10);
        fill(w, 4, 10);
        assert_int_equal(used(w, SESSION, HOST), 6);
        limit(w, 0, HOST, 4);
        assert_int_equal(used(w, SESSION, HOST), 4);
}

/* A control group's min is kept free of others', and counts for all partitions in it. */
static void test_min_of_group(void **state) {
        struct world *w = *state;
        struct managed_node_info info;

        managed_node_info(w->e, HOST, &info);
        w->min[OUTER][HOST] = 30;
        bounds_tell(w, OUTER, HOST);
        set_in(w, 0, OUTER, true);
        set_in(w, 1, OUTER, true);
        managed_node_info(w->e, HOST, &info);
        assert_int_equal(info.kept, 30 * BYTES);
        fill(w, 0, 10);
        fill(w, 1, 10);
        managed_node_info(w->e, HOST, &info);
        assert_int_equal(info.kept, 10 * BYTES);
        charge(w, 1, NONE);
        managed_node_info(w->e, HOST, &info);
        assert_int_equal(info.kept, 20 * BYTES);
}

/* ---- at random ---- */

static uint32_t below(struct world *w, uint32_t n) {
        return (uint32_t)rand_r(&w->seed) % n;
}

static void restart(struct world *w) {
        struct managed_record before[RANGES][COUNT];

        memcpy(before, w->last, sizeof(before));
        before_change(w);
        managed_free(w->e);
        start(w);
        for (unsigned i = 0; i < RANGES; i++) {
                for (unsigned k = 0; k < COUNT; k++)
                        if (before[i][k].state != RESIDENCY_EMPTY)
                                assert_int_equal(managed_restore(w->e, w->range[i], &before[i][k]), 0);
                assert_int_equal(managed_rejoin(w->e, w->session, w->range[i], false), 0);
                for (unsigned k = 0; k < COUNT; k++)
                        if (w->pinned[i][k])
                                assert_int_equal(managed_pin(w->e, w->range[i], k, 1, 0, 1), 0);
        }
        assert_int_equal(managed_restored(w->e, 1), 0);
        all(w);
}

static void change_limit(struct world *w) {
        unsigned group = below(w, GROUPS), node = below(w, w->roomy ? NODES - 1 : NODES);

        w->low[group][node] = below(w, 3) ? 0 : below(w, 16);
        w->min[group][node] = below(w, 4) || group >= SESSION ? 0 : below(w, 12);
        limit(w, group, node, below(w, 4) ? below(w, 24) + (w->roomy && node == HOST) : UINT64_MAX);
}

static void pin(struct world *w, unsigned range, uint32_t granule) {
        if (w->pinned[range][granule]) {
                w->pinned[range][granule] = false;
                managed_unpin(w->e, w->range[range], granule, 1, 1);
        } else if (below(w, 2) == 0) {
                w->pinned[range][granule] = managed_pin(w->e, w->range[range], granule, 1, 0, 1) == 0;
        }
        all(w);
}

static void use(struct world *w, unsigned range, uint32_t granule, unsigned node) {
        w->answer = 99;
        assert_int_equal(managed_device_access(w->e, w->range[range], granule, node, below(w, 2), 1, 1), 0);
        all(w);
        if (w->answer == 0)
                managed_device_end(w->e, w->range[range], granule, 1);
        all(w);
}

static void change_chain(struct world *w) {
        unsigned chain = below(w, CHAINS), group = OUTER + below(w, 3);

        group = group == SESSION ? SESSION + chain : group;
        set_in(w, chain, group, !w->in[chain][group]);
}

static void change_payer(struct world *w) {
        unsigned range = below(w, RANGES), chain = w->partition[range] + PARTITIONS * below(w, CHAINS / PARTITIONS);

        charge(w, range, below(w, 3) ? chain : NONE);
}

static void act(struct world *w) {
        unsigned range = below(w, RANGES);
        uint32_t granule = below(w, COUNT);

        switch (below(w, 24)) {
        case 0: change_limit(w); break;
        case 1: change_chain(w); break;
        case 2: change_payer(w); break;
        case 3:
        case 4:
                assert_int_equal(managed_migrate(w->e, w->range[range], granule, 1 + below(w, COUNT - granule),
                                                 below(w, NODES), MANAGED_BY_REQUEST, 1, 1),
                                 0);
                all(w);
                break;
        case 5: pin(w, range, granule); break;
        case 6:
                assert_int_equal(managed_discard(w->e, w->range[range], granule, 1, 1, 1), 0);
                all(w);
                break;
        case 7:
                if (w->roomy && below(w, 8) == 0) /* nothing waits for a device that would be forgotten */
                        restart(w);
                break;
        case 8:
        case 9:
        case 10:
                if (w->roomy)
                        use(w, range, granule, 1 + below(w, NODES - 1));
                break;
        default: touch(w, range, granule); break;
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned first = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL), courses = given ? 1 : 12;

        printf("SVMD_SEED=%u\n", first);
        for (unsigned k = 0; k < courses; k++) {
                struct world *w = &world;

                managed_free(w->e);
                setup(state);
                w->first = w->seed = first + k;
                w->roomy = w->first % 2;
                for (unsigned i = 0; i < 600; i++)
                        act(w);
        }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                T(test_least_limit), T(test_lowered),          T(test_left_to_partition), T(test_waits_alone),
                T(test_swap),        T(test_low_in_partition), T(test_min_of_group),      T(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
