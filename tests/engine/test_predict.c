/*
 * Predictions are performed: random hints, pins, limits, revocations and losses over nodes of every kind, and before
 * each touch what is said of it; what then has become of the granule, or how the touch was answered, has to be that.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/predict.h"

enum { BYTES = 4096, HOST0, HOST1, FAR, GPU0, GPU1, GPU2, OLD, END, NODES = END - HOST0 };
enum { WORKERS = 3, COUNT = 64, UNTOLD = 9999 };

struct world {
        struct managed *e;
        struct managed_group *group;
        struct managed_range *range;
        struct managed_session *session;
        struct policy_advice advice[COUNT];
        unsigned pins[COUNT];
        uint32_t link[NODES][NODES];
        uint64_t now;
        unsigned seed;
        bool revoked, offline[NODES], limited;
        int answer;
        unsigned outcomes[_MANAGED_OUTCOME_N], naps;
};

static void on_intent(void *userdata, const struct managed_record *r) {
}

static void on_done(void *userdata, uint64_t token, int result) {
        if (token == 1)
                ((struct world *)userdata)->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static void on_advice(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        *ret = ((struct world *)userdata)->advice[granule];
}

static void all(struct world *w) {
        const struct managed_step *s;

        while ((s = managed_take(w->e)))
                managed_complete(w->e, s, 0, w->now);
        assert_int_equal(managed_check(w->e), 0);
}

static uint32_t below(struct world *w, uint32_t n) {
        return (uint32_t)rand_r(&w->seed) % n;
}

static bool is_host(uint32_t node) {
        return node <= FAR - HOST0;
}

static void add_nodes(struct world *w, unsigned hosts) {
        for (uint32_t i = 0; i < NODES; i++)
                for (uint32_t k = 0; k < i; k++)
                        w->link[i][k] = w->link[k][i] = is_host(i) || is_host(k) || below(w, 2) ? 1 + below(w, 3) : 0;
        for (uint32_t i = 0; i < NODES; i++) {
                uint64_t granules = is_host(i) ? (i < hosts ? COUNT : 0) : below(w, 3) ? COUNT : 6 + below(w, 8);

                managed_node_add(w->e, is_host(i), i != OLD - HOST0, (granules + WORKERS) * BYTES,
                                 is_host(i) ? 0 : 1 + below(w, 2), w->link[i]);
        }
        managed_node_shape(w->e, FAR - HOST0, true, NULL);
}

static void open_world(struct world *w, unsigned seed) {
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
        w->seed = seed;
        w->now = 1000000000;
        c.continue_protects = below(w, 2);
        assert_int_equal(managed_new(&w->e, &c), 0);
        add_nodes(w, 1 + below(w, 3));
        assert_int_equal(managed_group_new(w->e, &w->group), 0);
        assert_int_equal(managed_range_new(w->e, &w->range, w, w->group, BYTES, COUNT, 7, below(w, 2)), 0);
        assert_int_equal(managed_session_new(w->e, &w->session, w, 7), 0);
        assert_int_equal(managed_join(w->e, w->session, w->range, false, w->now), 0);
        all(w);
}

/* ---- what happens between touches ---- */

static void hint(struct world *w, uint32_t granule) {
        w->advice[granule] = (struct policy_advice){
                .preferred = below(w, 2) ? 0 : 1 + below(w, NODES),
                .accessed_by = below(w, 2) ? 0 : below(w, 1 << NODES),
                .read_mostly = !below(w, 3),
                .pinned = !below(w, 6),
        };
        if (!w->advice[granule].read_mostly)
                managed_unduplicate(w->e, w->range, granule, 1, 2, w->now);
}

static void pin(struct world *w, uint32_t granule) {
        if (w->pins[granule]) {
                managed_unpin(w->e, w->range, granule, 1, w->now);
                w->pins[granule]--;
        } else if (!w->revoked) {
                w->answer = 99;
                if (managed_pin(w->e, w->range, granule, 1, 1, w->now) == 0) {
                        all(w);
                        if (w->answer)
                                managed_unpin(w->e, w->range, granule, 1, w->now);
                        else
                                w->pins[granule]++;
                }
        }
}

static void turn_node(struct world *w) {
        uint32_t node = GPU0 - HOST0 + below(w, 4);

        if (w->offline[node])
                managed_node_online(w->e, node, w->now);
        else if (below(w, 2))
                managed_node_drain(w->e, node, 0, w->now);
        else
                managed_node_lost(w->e, node, w->now);
        w->offline[node] = !w->offline[node];
}

static void limit(struct world *w) {
        uint32_t node = GPU0 - HOST0 + below(w, 4);

        managed_group_limit(w->e, w->group, node, w->limited ? UINT64_MAX : (uint64_t)below(w, 3) * BYTES, w->now);
        w->limited = !w->limited;
}

static void revoke(struct world *w) {
        for (uint32_t i = 0; i < COUNT; i++)
                if (w->pins[i])
                        return;
        if (w->revoked)
                managed_unrevoke(w->e, w->range, 2, w->now);
        else
                managed_revoke(w->e, w->range, 2, w->now);
        w->revoked = !w->revoked;
}

static void happen(struct world *w, uint32_t granule) {
        switch (below(w, 16)) {
        case 0:
        case 1:
        case 2:
        case 3: hint(w, granule); break;
        case 4:
        case 5: managed_migrate(w->e, w->range, granule, 1, below(w, NODES), MANAGED_BY_REQUEST, 2, w->now); break;
        case 6: managed_discard(w->e, w->range, granule, 1, 2, w->now); break;
        case 7: pin(w, granule); break;
        case 8: managed_evict(w->e, w->range, granule, 1, 2, w->now); break;
        case 9:
                if (!below(w, 8))
                        turn_node(w);
                break;
        case 10:
                if (!below(w, 4))
                        limit(w);
                break;
        case 11:
                if (w->revoked || !below(w, 20))
                        revoke(w);
                break;
        default: break;
        }
        w->now += below(w, 4) ? 1000 : 200000000;
        all(w);
}

/* ---- the truth ---- */

/* What bounces may be answered later. */
static void await(struct world *w, uint32_t granule) {
        struct managed_granule_info info;

        for (managed_granule_info(w->range, granule, &info); info.busy && managed_due(w->e);
             managed_granule_info(w->range, granule, &info)) {
                w->naps++;
                w->now = managed_due(w->e) > w->now ? managed_due(w->e) : w->now;
                managed_tick(w->e, w->now);
                all(w);
        }
}

static void perform(struct world *w, uint32_t granule, uint32_t node, bool write) {
        w->answer = UNTOLD;
        if (node == MANAGED_NOWHERE) {
                assert_int_equal(managed_fault(w->e, w->session, w->range, granule, write, false, w->now), 0);
                all(w);
                await(w, granule);
                return;
        }
        if (managed_device_begin(w->e, w->range, granule, node, write)) {
                w->answer = 0;
        } else {
                assert_int_equal(managed_device_access(w->e, w->range, granule, node, write, 1, w->now), 0);
                all(w);
                await(w, granule);
        }
        assert_int_not_equal(w->answer, UNTOLD);
}

static void tell(const char *what, const struct managed_touch *t, const struct managed_granule_info *now, int answer) {
        print_message("%s: outcome %d why %d result %d: %s on %d, copies %llx; but %s on %d, copies %llx, answer %d\n",
                      what, t->outcome, t->why, t->result, managed_state_name(t->state), (int)t->node,
                      (unsigned long long)t->copies, managed_state_name(now->state), (int)now->node,
                      (unsigned long long)now->copies, answer);
}

static void compare(struct world *w, uint32_t granule, uint32_t node, const struct managed_touch *t) {
        struct managed_granule_info now;
        bool fine;

        managed_granule_info(w->range, granule, &now);
        fine = now.state == t->state && now.node == t->node && now.copies == t->copies;
        if (node != MANAGED_NOWHERE)
                fine = fine && (t->outcome == MANAGED_TOUCH_FAILS ? w->answer == t->result : !w->answer);
        if (!fine)
                tell("not as predicted", t, &now, w->answer);
        assert_true(fine);
        if (node != MANAGED_NOWHERE && !w->answer)
                managed_device_end(w->e, w->range, granule, w->now);
        all(w);
        w->outcomes[t->outcome]++;
}

static void touch(struct world *w, uint32_t granule) {
        uint32_t node = below(w, 3) ? GPU0 - HOST0 + below(w, 4) : MANAGED_NOWHERE;
        struct managed_granule_info before, after;
        bool write = below(w, 2);
        struct managed_touch t;

        managed_granule_info(w->range, granule, &before);
        if (before.busy)
                return;
        managed_predict(w->e, w->range, granule, node, write, w->now, &t);
        managed_granule_info(w->range, granule, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        perform(w, granule, node, write);
        compare(w, granule, node, &t);
}

static void test_random(void **state) {
        unsigned seed = (unsigned)time(NULL), rounds = getenv("SVMD_LONG") ? 2000 : 60;
        unsigned outcomes[_MANAGED_OUTCOME_N] = { 0 };
        static struct world w;

        if (getenv("SVMD_SEED"))
                seed = (unsigned)strtoul(getenv("SVMD_SEED"), NULL, 0);
        print_message("seed %u\n", seed);
        for (unsigned i = 0; i < rounds; i++) {
                open_world(&w, seed + i);
                for (unsigned k = 0; k < 400; k++) {
                        uint32_t granule = below(&w, 24);

                        happen(&w, granule);
                        touch(&w, granule);
                }
                for (unsigned k = 0; k < _MANAGED_OUTCOME_N; k++)
                        outcomes[k] += w.outcomes[k];
                managed_free(w.e);
        }
        for (unsigned k = 0; k < _MANAGED_OUTCOME_N; k++) {
                print_message("outcome %u: %u\n", k, outcomes[k]);
                assert_true(outcomes[k] > 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
