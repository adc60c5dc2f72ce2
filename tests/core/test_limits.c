/*
 * Nobody passes a limit: 64 sessions of several partitions and control groups ask for room on several nodes at once,
 * get it, give it back and end, while limits of all of them change. After every step all sums are counted anew, and
 * what has grown is within all limits above it and has left alone what is kept free for others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/lease.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

enum { NODES = 3, PARTITIONS = 5, SESSIONS = 64, PATHS = 8, LEASES = 160, CAPACITY = 1000, STEPS = 6000 };

static const char *const paths[PATHS] = { "/", "/a", "/a/b", "/a/b/c", "/ab", "/d", "/d/e", "/d/e/f" };

struct world {
        struct machine machine;
        struct state state;
        struct partition *partition[PARTITIONS];
        struct session *session[SESSIONS];
        struct lease *lease[LEASES];
        struct admission_line line;
        struct list granted;
};

static struct world w;
static uint64_t rng;

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

/* ---- what is true after every step ---- */

struct before {
        const struct account *account;
        uint64_t used, over; /* over: used and held beyond max */
};

enum { ACCOUNTS_MAX = NODES * (1 + PARTITIONS + SESSIONS + PATHS) };

static unsigned list_accounts(struct before *all) {
        unsigned n = 0;

        for (unsigned i = 0; i < NODES; i++) {
                all[n++].account = &w.state.nodes[i].account;
                for (unsigned p = 0; p < PARTITIONS; p++)
                        all[n++].account = &w.partition[p]->accounts[i];
                for (unsigned s = 0; s < SESSIONS; s++)
                        if (w.session[s] && w.session[s]->accounts)
                                all[n++].account = &w.session[s]->accounts[i];
                list_for_each (l, &w.state.cgroups)
                        all[n++].account = &container_of(l, struct cgroup, by_state)->accounts[i];
        }
        return n;
}

static uint64_t over(const struct account *a) {
        return a->used + a->held > a->max ? a->used + a->held - a->max : 0;
}

static void look(struct before *all, unsigned *ret_count) {
        *ret_count = list_accounts(all);
        for (unsigned i = 0; i < *ret_count; i++) {
                all[i].used = all[i].account->used;
                all[i].over = over(all[i].account);
        }
}

static void within_limits(const struct before *all, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                const struct account *a = all[i].account;

                if (a->used <= all[i].used)
                        continue;
                assert_true(a->used <= a->max);
                assert_true(over(a) <= all[i].over);
        }
}

/* ---- steps ---- */

static void come_or_go(unsigned i) {
        struct session_args args = { .id = state_take_id(&w.state), .pid = 1 + (uint32_t)any(20) };

        if (w.session[i]) {
                for (unsigned k = 0; k < LEASES; k++)
                        if (w.lease[k] && w.lease[k]->session == w.session[i])
                                return;
                session_free(&w.state, w.session[i]);
                w.session[i] = NULL;
                return;
        }
        assert_int_equal(session_new(&w.session[i], &w.state, &args), 0);
        session_attach(w.session[i], w.partition[any(PARTITIONS)]);
        session_set_cgroup(&w.state, w.session[i], any(4) ? alloc_string(paths[any(PATHS)]) : NULL);
}

static void ask(unsigned i) {
        struct session *s = w.session[any(SESSIONS)];
        struct lease_need needs[NODES];
        uint32_t count = 0;

        for (uint32_t n = 0; n < NODES; n++)
                if (any(2))
                        needs[count++] = (struct lease_need){ .node = n, .asked = 1 + any(any(4) ? 40 : 400) };
        if (!s || count == 0)
                return;
        assert_int_equal(ids_reserve(&w.state.ids, 1), 0);
        w.lease[i] = lease_new(&w.state, state_take_id(&w.state), s->partition, s, needs, count);
        assert_non_null(w.lease[i]);
        w.lease[i]->admission.priority = (uint32_t)any(3);
        admission_enter(&w.line, &w.lease[i]->admission);
}

static void give_back(unsigned i) {
        struct lease *l = w.lease[i];

        if (l->state == LEASE_WAITS)
                admission_call_off(&w.line, &l->admission);
        for (uint32_t k = 0; k < l->admission.count; k++)
                charge_drop(&l->needs[k].charge);
        lease_free(&w.state, l);
        w.lease[i] = NULL;
}

static void step(void) {
        admission_step(&w.line, &w.granted);
        while (!list_empty(&w.granted)) {
                struct lease *l =
                        container_of(container_of(w.granted.next, struct admission, by_line), struct lease, admission);

                list_remove(&l->admission.by_line);
                l->state = LEASE_GRANTED;
        }
}

static void limit(struct account *a) {
        struct bounds b = account_bounds(a), was = b;
        enum bound which = (enum bound)any(BOUNDS);
        bool none = any(3) == 0;

        b.bytes[which] = any(CAPACITY);
        if (none)
                b.bytes[which] = which == BOUND_MIN || which == BOUND_LOW ? 0 : ACCOUNT_NO_LIMIT;
        if (account_set_bounds(a, &b) == 0)
                return;
        b = account_bounds(a);
        assert_memory_equal(&b, &was, sizeof(b));
}

static void limit_partition(struct partition *p, uint32_t node) {
        struct account *a = &p->accounts[node];
        bool was = a->max != ACCOUNT_NO_LIMIT;

        limit(a);
        w.state.nodes[node].limited += (a->max != ACCOUNT_NO_LIMIT) - (uint64_t)was;
}

static void limit_any(void) {
        uint32_t node = (uint32_t)any(NODES);
        struct session *s = w.session[any(SESSIONS)];
        struct cgroup *g = cgroup_find(&w.state, paths[any(PATHS)]);

        switch (any(3)) {
        case 0: limit_partition(w.partition[any(PARTITIONS)], node); break;
        case 1:
                if (s)
                        limit(session_account(&w.state, s, node));
                break;
        default:
                if (g)
                        limit(&g->accounts[node]);
        }
}

static void group(void) {
        const char *path = paths[any(PATHS)];
        struct cgroup *g = cgroup_find(&w.state, path);
        struct session *s = w.session[any(SESSIONS)];

        if (s && any(2)) {
                session_set_cgroup(&w.state, s, alloc_string(path));
        } else if (g) {
                cgroup_free(&w.state, g);
        } else {
                g = cgroup_new(&w.state, path);
                assert_non_null(g);
                cgroup_link(&w.state, g);
        }
}

static void random_step(void) {
        static struct before all[ACCOUNTS_MAX];
        unsigned i = (unsigned)any(LEASES), count;

        if (any(20) == 0) {
                come_or_go((unsigned)any(SESSIONS));
        } else if (any(30) == 0) {
                group();
        } else if (any(10) == 0) {
                limit_any();
        } else if (w.lease[i]) {
                give_back(i);
        } else {
                ask(i);
        }
        look(all, &count);
        step();
        within_limits(all, count);
}

/* ---- the world ---- */

static void make_world(void) {
        for (unsigned i = 0; i < NODES; i++) {
                struct node_desc *n = machine_add(&w.machine);

                n->kind = NODE_SOFT;
                n->capacity = CAPACITY;
        }
        assert_int_equal(state_init(&w.state, &w.machine), 0);
        admission_line_init(&w.line, NULL, NULL);
        list_init(&w.granted);
        for (unsigned i = 0; i < PARTITIONS; i++) {
                char name[8];
                struct partition_args args = { .name = name, .domain = "default", .size = 4ull << 30 };

                snprintf(name, sizeof(name), "p%u", i);
                assert_int_equal(partition_new(&w.partition[i], &w.state, &args), 0);
                partition_link(&w.state, w.partition[i]);
        }
        for (unsigned i = 0; i < SESSIONS; i++)
                come_or_go(i);
}

static void end_world(void) {
        for (unsigned i = 0; i < LEASES; i++)
                if (w.lease[i])
                        give_back(i);
        for (unsigned i = 0; i < SESSIONS; i++)
                if (w.session[i])
                        session_free(&w.state, w.session[i]);
        while (!list_empty(&w.state.cgroups))
                cgroup_free(&w.state, container_of(w.state.cgroups.next, struct cgroup, by_state));
        for (unsigned i = 0; i < PARTITIONS; i++)
                partition_free(&w.state, w.partition[i]);
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(w.state.nodes[i].account.used + w.state.nodes[i].account.held +
                                         w.state.nodes[i].account.promised + w.state.nodes[i].account.children,
                                 0);
        state_fini(&w.state);
        machine_fini(&w.machine);
}

static void test_nobody_passes_a_limit(void **state) {
        const char *text = getenv("SVMD_SEED");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        make_world();
        for (unsigned i = 0; i < STEPS; i++) {
                random_step();
                assert_int_equal(state_check(&w.state), 0);
        }
        end_world();
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_nobody_passes_a_limit) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
