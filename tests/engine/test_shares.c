/*
 * Mins and lows of groups: what is kept free for one is never used for another, whatever is touched, moved and changed.
 * Directed cases, then random courses from a printed seed against sums that are made anew after each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/managed.h"
#include "policy/share.h"

enum { BYTES = 65536, NODES = 3, GROUPS = 3, WORKERS = 3, COUNT = 24, ROOM = 24, RESERVE = WORKERS, NOBODY = GROUPS };
enum { HOST, NEAR, FAR_OFF };
static const uint32_t bandwidth[NODES] = { 1, 1, 1 };

struct world {
        struct managed *e;
        struct managed_group *group[GROUPS];
        struct managed_range *range[GROUPS + 1]; /* the last one is of no group */
        struct managed_session *session;
        enum residency state[GROUPS + 1][COUNT];
        uint32_t where[GROUPS + 1][COUNT];
        uint64_t min[NODES][GROUPS], low[NODES][GROUPS], kept[NODES], capacity[NODES]; /* granules */
        uint64_t before[NODES][GROUPS];
        unsigned actor; /* whose doing goes on, or NOBODY */
        bool settling;  /* something was promised a moment ago that may still be in use */
        int answer;
        uint32_t size[GROUPS + 1]; /* granules of each range that a random course uses */
        unsigned first, seed;
};

struct key {
        struct world *w;
        unsigned range;
};
static struct key keys[GROUPS + 1];

static void on_intent(void *userdata, const struct managed_record *r) {
        const struct key *k = r->range;

        k->w->state[k->range][r->granule] = r->state;
        k->w->where[k->range][r->granule] = r->node;
}

static void on_done(void *userdata, uint64_t token, int result) {
        ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static struct world world;

static int setup(void **state) {
        static struct policy_profile profile;
        struct world *w = &world;
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

        memset(w, 0, sizeof(*w));
        w->actor = NOBODY;
        profile = *policy_profile_default();
        profile.settle_us = 0;
        profile.window_us = 1;
        profile.window_moves = 1000;
        profile.lapse_us = 0;
        profile.leaf_kib = profile.ahead_kib = 0;
        assert_int_equal(managed_new(&w->e, &c), 0);
        for (unsigned i = 0; i < NODES; i++) {
                w->capacity[i] = ROOM + RESERVE;
                managed_node_add(w->e, i == HOST, i != HOST, w->capacity[i] * BYTES, 0, bandwidth);
        }
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        for (unsigned i = 0; i <= GROUPS; i++) {
                if (i < GROUPS)
                        assert_int_equal(managed_group_new(w->e, &w->group[i]), 0);
                keys[i] = (struct key){ w, i };
                assert_int_equal(managed_range_new(w->e, &w->range[i], &keys[i], i < GROUPS ? w->group[i] : NULL, BYTES,
                                                   COUNT, 7, false),
                                 0);
                assert_int_equal(managed_join(w->e, w->session, w->range[i], false, 1), 0);
        }
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

/* What is used there, and what is kept free. */
static uint64_t taken(struct world *w, unsigned node) {
        uint64_t sum = managed_range_used(w->range[GROUPS], node) / BYTES + w->kept[node];

        for (unsigned i = 0; i < GROUPS; i++)
                sum += used(w, i, node) > w->min[node][i] ? used(w, i, node) : w->min[node][i];
        return sum;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* Nobody's min is used for others, and nobody but its own group takes anything out of what is used of one. */
static void check(struct world *w) {
        assert_int_equal(managed_check(w->e), 0);
        for (unsigned n = 0; n < NODES; n++) {
                if (!w->settling && taken(w, n) > w->capacity[n])
                        fail_msg("seed %u: node %u: %lu taken of %lu%s", w->first, n, taken(w, n), w->capacity[n],
                                 w->actor == NOBODY ? " after a change" : "");
                for (unsigned i = 0; i < GROUPS; i++) {
                        if (i != w->actor && used(w, i, n) < smaller(w->before[n][i], w->min[n][i]))
                                fail_msg("seed %u: node %u: group %u had %lu of its min of %lu, and has %lu", w->first,
                                         n, i, w->before[n][i], w->min[n][i], used(w, i, n));
                        w->before[n][i] = used(w, i, n);
                }
        }
}

static void all(struct world *w) {
        const struct managed_step *s;

        for (unsigned n = 0; (s = managed_take(w->e)); n++) {
                managed_complete(w->e, s, 0, 1);
                check(w);
                if (n > 100000)
                        fail_msg("seed %u: no end", w->first);
        }
        check(w);
        if (!managed_idle(w->e))
                fail_msg("seed %u: not idle", w->first);
}

static void tell(struct world *w, unsigned node, unsigned group) {
        struct managed_node_share s = { w->capacity[node] * BYTES, w->kept[node] * BYTES };
        struct managed_group_bounds b = { w->group[group],
                                          { UINT64_MAX, w->low[node][group] * BYTES, w->min[node][group] * BYTES } };

        managed_share_node(w->e, node, &s, &b, 1, 1);
}

static void set(struct world *w, unsigned node, unsigned group, uint64_t min, uint64_t low) {
        w->min[node][group] = min;
        w->low[node][group] = low;
        w->settling = true;
        tell(w, node, group);
        all(w);
        w->settling = false;
        check(w);
}

/* Nobody waits for room. It may have left again, where it has no part in the node. */
static void touch(struct world *w, unsigned range, uint32_t granule) {
        struct managed_node_info info;

        w->actor = range;
        assert_int_equal(managed_fault(w->e, w->session, w->range[range], granule, true, false, 1), 0);
        all(w);
        w->actor = NOBODY;
        for (unsigned n = 0; n < NODES; n++) {
                managed_node_info(w->e, n, &info);
                if (info.waiting)
                        fail_msg("seed %u: granule %u of range %u waits for node %u", w->first, granule, range, n);
        }
        assert_int_not_equal(w->state[range][granule], RESIDENCY_EMPTY);
}

static void fill(struct world *w, unsigned range, uint32_t count) {
        for (uint32_t g = 0; g < count; g++)
                touch(w, range, g);
}

static void move(struct world *w, unsigned range, uint32_t first, uint32_t count, unsigned node) {
        w->actor = range;
        assert_int_equal(managed_migrate(w->e, w->range[range], first, count, node, MANAGED_BY_REQUEST, 1, 1), 0);
        all(w);
        w->actor = NOBODY;
}

/* ---- directed ---- */

/* What others have goes elsewhere at its limit, with the node half empty; who it is kept for finds it. */
static void test_kept_free(void **state) {
        struct world *w = *state;

        set(w, HOST, 0, 16, 0);
        fill(w, 1, COUNT);
        assert_in_range(used(w, 1, HOST), 1, ROOM - 16);
        fill(w, 0, 16);
        assert_int_equal(used(w, 0, HOST), 16);
        fill(w, 1, COUNT);
        fill(w, NOBODY, 8);
        assert_int_equal(used(w, 0, HOST), 16);
}

/* Promised while others are there: they leave. */
static void test_promised_later(void **state) {
        struct world *w = *state;

        fill(w, 1, COUNT);
        assert_int_equal(used(w, 1, HOST), COUNT);
        set(w, HOST, 0, 10, 0);
        assert_int_equal(used(w, 1, HOST), ROOM - 10);
        set(w, HOST, 0, 0, 0);
        fill(w, 1, COUNT);
        assert_int_equal(used(w, 1, HOST), COUNT);
        w->kept[HOST] = 6;
        set(w, HOST, 0, 0, 0);
        assert_int_equal(used(w, 1, HOST), ROOM - 6);
}

/* Who has no more than his low loses nothing while another one has more; then he does, down to his min. */
static void test_low_is_last(void **state) {
        struct world *w = *state;

        set(w, HOST, 0, 4, 12);
        fill(w, 0, 12);
        fill(w, 1, 12);
        fill(w, 2, 12);
        assert_int_equal(used(w, 0, HOST), 12);
        set(w, HOST, 1, 12, 0);
        move(w, 1, 0, 12, HOST);
        fill(w, 2, 12);
        assert_in_range(used(w, 0, HOST), 4, 11);
        assert_int_equal(used(w, 1, HOST), 12);
}

/* More is promised than the node can grant beside what is kept for moves: swaps go on, also of who has no part in it.
 */
static void test_all_promised(void **state) {
        struct world *w = *state;

        for (unsigned n = 0; n < NODES; n++)
                w->kept[n] = n == HOST ? 0 : 2;
        w->min[HOST][0] = w->min[HOST][1] = 14;
        w->settling = true; /* what is promised in sum is more than there is */
        tell(w, HOST, 0);
        tell(w, HOST, 1);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < 3; i++) {
                        w->min[HOST][0] = w->min[HOST][1] = 0; /* for check() */
                        fill(w, i, 18);
                }
        }
}

/* Who is at its own min swaps against itself, with everything else at theirs. */
static void test_swap_at_min(void **state) {
        struct world *w = *state;

        for (unsigned i = 0; i < GROUPS; i++)
                set(w, HOST, i, 8, 0);
        for (unsigned round = 0; round < 3; round++)
                for (unsigned i = 0; i < GROUPS; i++)
                        fill(w, i, 16);
        for (unsigned i = 0; i < GROUPS; i++)
                assert_int_equal(used(w, i, HOST), 8);
}

/* ---- at random ---- */

static uint32_t below(struct world *w, uint32_t n) {
        return (uint32_t)rand_r(&w->seed) % n;
}

/* What is promised as the daemon would: sizes go on having a place. */
static bool may_promise(struct world *w) {
        struct policy_fit f = { 0 };

        for (unsigned n = 0; n < NODES; n++) {
                uint64_t sum = w->kept[n];

                for (unsigned i = 0; i < GROUPS; i++)
                        sum += w->min[n][i];
                if (sum > ROOM)
                        return false;
                policy_fit_node(&f, (w->capacity[n] - RESERVE) * BYTES, sum * BYTES);
        }
        for (unsigned i = 0; i <= GROUPS; i++) {
                uint64_t held = 0;

                for (unsigned n = 0; n < NODES && i < GROUPS; n++)
                        held += policy_min_holds(w->min[n][i] * BYTES, BYTES);
                policy_fit_sizes(&f, (uint64_t)w->size[i] * BYTES, held);
        }
        return policy_fits(&f);
}

static void change_bounds(struct world *w) {
        unsigned node = below(w, NODES), group = below(w, GROUPS);
        uint64_t min = w->min[node][group], kept = w->kept[node];

        w->min[node][group] = below(w, 2) ? 0 : below(w, ROOM);
        if (below(w, 4) == 0)
                w->kept[node] = below(w, 5);
        if (!may_promise(w)) {
                w->min[node][group] = min;
                w->kept[node] = kept;
        }
        set(w, node, group, w->min[node][group], below(w, 3) ? 0 : below(w, ROOM));
}

static void use(struct world *w, unsigned range, uint32_t granule, unsigned node) {
        w->actor = range;
        w->answer = 99;
        assert_int_equal(managed_device_access(w->e, w->range[range], granule, node, below(w, 2), 1, 1), 0);
        all(w);
        if (w->answer)
                fail_msg("seed %u: node %u cannot use granule %u of range %u: %d", w->first, node, granule, range,
                         w->answer);
        managed_device_end(w->e, w->range[range], granule, 1);
        all(w);
        w->actor = NOBODY;
}

static void act(struct world *w) {
        unsigned range = below(w, GROUPS + 1);
        uint32_t size = w->size[range], granule = below(w, size), left = size - granule;

        switch (below(w, 12)) {
        case 0: change_bounds(w); break;
        case 1:
        case 2: move(w, range, granule, 1 + below(w, left), below(w, NODES)); break;
        case 3:
        case 4: use(w, range, granule, 1 + below(w, NODES - 1)); break;
        case 5:
                if (below(w, 8) == 0) {
                        w->actor = range;
                        assert_int_equal(managed_discard(w->e, w->range[range], granule, 1, 1, 1), 0);
                        all(w);
                        w->actor = NOBODY;
                }
                break;
        default: touch(w, range, granule); break;
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned first = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL), courses = given ? 1 : 30;

        printf("SVMD_SEED=%u\n", first);
        for (unsigned k = 0; k < courses; k++) {
                struct world *w = &world;
                unsigned seed = first + k;

                managed_free(w->e);
                setup(state);
                w->first = w->seed = seed;
                for (unsigned i = 0; i <= GROUPS; i++) /* all of what there is, or less */
                        w->size[i] = seed % 2 ? NODES * ROOM / (GROUPS + 1) : 4 + below(w, 14);
                for (unsigned i = 0; i < 1500; i++)
                        act(w);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_kept_free, setup, teardown),
                cmocka_unit_test_setup_teardown(test_promised_later, setup, teardown),
                cmocka_unit_test_setup_teardown(test_low_is_last, setup, teardown),
                cmocka_unit_test_setup_teardown(test_all_promised, setup, teardown),
                cmocka_unit_test_setup_teardown(test_swap_at_min, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
