/*
 * Directed cases, then random takes, drops and lifts on trees of accounts, with mins that come and go and leaves that
 * change their second root, against a model that keeps nothing but the list of live charges and sums it up anew after
 * every step.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/ledger.h"

enum { NODES = 2, PARTITIONS = 6, SESSIONS = 24, GROUPS = 6, CHARGES = 120 };
enum { FIRST_GROUP = NODES + PARTITIONS + SESSIONS, ACCOUNTS = FIRST_GROUP + GROUPS };

static uint64_t rng;

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static void seed_random(void) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
}

static void test_charge_reaches_every_ancestor(void **state) {
        struct account node, partition, session;
        struct charge c = { 0 };

        account_init(&node, NULL, 1000);
        account_init(&partition, &node, ACCOUNT_NO_LIMIT);
        account_init(&session, &partition, 500);
        assert_int_equal(node.children, 1);
        assert_int_equal(account_room(&session), 500);
        assert_int_equal(account_room(&partition), 1000);

        assert_int_equal(charge_take(&c, &session, 300, NULL), 0);
        assert_ptr_equal(c.account, &session);
        assert_int_equal(c.bytes, 300);
        assert_int_equal(session.used, 300);
        assert_int_equal(partition.used, 300);
        assert_int_equal(node.used, 300);
        assert_int_equal(session.charges, 1);
        assert_int_equal(partition.charges, 0);
        assert_int_equal(account_room(&session), 200);

        charge_drop(&c);
        assert_null(c.account);
        assert_int_equal(c.bytes, 0);
        assert_int_equal(session.used + partition.used + node.used, 0);
        assert_int_equal(session.charges, 0);
        assert_int_equal(session.peak, 300);
        assert_int_equal(node.peak, 300);
        charge_drop(&c);
        assert_int_equal(node.used, 0);

        account_fini(&session);
        assert_int_equal(partition.children, 0);
        account_fini(&partition);
        account_fini(&node);
}

static void test_limit_names_the_lowest_account_that_is_over(void **state) {
        struct account node, partition, session, *over = NULL;
        struct charge held = { 0 }, c = { 0 };

        account_init(&node, NULL, 100);
        account_init(&partition, &node, 100);
        account_init(&session, &partition, ACCOUNT_NO_LIMIT);
        assert_int_equal(charge_take(&held, &node, 40, NULL), 0);

        assert_int_equal(charge_take(&c, &session, 61, &over), LEDGER_E_LIMIT);
        assert_ptr_equal(over, &node);
        assert_int_equal(charge_take(&c, &session, 101, &over), LEDGER_E_LIMIT);
        assert_ptr_equal(over, &partition);
        assert_int_equal(charge_take(&c, &session, 101, NULL), LEDGER_E_LIMIT);
        assert_null(c.account);
        assert_int_equal(session.used + partition.used, 0);
        assert_int_equal(session.peak + partition.peak, 0);
        assert_int_equal(node.used, 40);

        over = NULL;
        assert_int_equal(charge_take(&c, &session, 60, &over), 0);
        assert_null(over);
        assert_int_equal(account_room(&session), 0);
        charge_drop(&c);
        charge_drop(&held);
}

static void test_max_below_used_takes_nothing_away(void **state) {
        struct account a;
        struct charge held = { 0 }, c = { 0 };

        account_init(&a, NULL, 100);
        assert_int_equal(charge_take(&held, &a, 80, NULL), 0);
        a.max = 50;
        assert_int_equal(account_room(&a), 0);
        assert_int_equal(charge_take(&c, &a, 1, NULL), LEDGER_E_LIMIT);
        assert_int_equal(a.used, 80);
        assert_int_equal(charge_take(&c, &a, 0, NULL), 0);
        assert_ptr_equal(c.account, &a);
        assert_int_equal(a.charges, 2);
        charge_drop(&c);
        charge_drop(&held);
        assert_int_equal(charge_take(&c, &a, 50, NULL), 0);
        charge_drop(&c);
        assert_int_equal(a.charges, 0);
}

static void test_sum_cannot_overflow(void **state) {
        struct account root, a, b, *over = NULL;
        struct charge first = { 0 }, second = { 0 };

        account_init(&root, NULL, ACCOUNT_NO_LIMIT);
        account_init(&a, &root, ACCOUNT_NO_LIMIT);
        account_init(&b, &root, ACCOUNT_NO_LIMIT);
        assert_int_equal(charge_take(&first, &a, UINT64_MAX - 5, NULL), 0);
        assert_int_equal(charge_take(&second, &b, 6, &over), LEDGER_E_LIMIT);
        assert_ptr_equal(over, &root);
        assert_int_equal(b.used, 0);
        assert_int_equal(charge_take(&second, &b, 5, NULL), 0);
        assert_true(root.used == UINT64_MAX);
        charge_drop(&second);
        charge_drop(&first);
        assert_int_equal(root.used, 0);
}

static void test_full_charge_is_not_taken_twice(void **state) {
        struct account a, b;
        struct charge c = { 0 };

        account_init(&a, NULL, 100);
        account_init(&b, NULL, 100);
        assert_int_equal(charge_take(&c, &a, 10, NULL), 0);
        assert_int_equal(charge_take(&c, &b, 20, NULL), -EINVAL);
        assert_ptr_equal(c.account, &a);
        assert_int_equal(c.bytes, 10);
        assert_int_equal(b.used, 0);
        charge_drop(&c);
}

static void test_lift(void **state) {
        struct account node, partition, session;
        struct charge c = { 0 }, empty = { 0 };

        account_init(&node, NULL, 100);
        account_init(&partition, &node, 100);
        account_init(&session, &partition, 100);
        charge_lift(&empty, &node);
        assert_null(empty.account);

        assert_int_equal(charge_take(&c, &session, 70, NULL), 0);
        charge_lift(&c, &session);
        assert_int_equal(session.used, 70);
        assert_int_equal(session.charges, 1);

        charge_lift(&c, &partition);
        assert_int_equal(session.used, 0);
        assert_int_equal(session.charges, 0);
        assert_int_equal(partition.used, 70);
        assert_int_equal(partition.charges, 1);
        assert_int_equal(node.used, 70);
        assert_int_equal(node.peak, 70);
        account_fini(&session);

        charge_drop(&c);
        assert_int_equal(partition.used + node.used, 0);
        assert_int_equal(partition.charges, 0);
}

/* ---- min, and the second root ---- */

static void test_min_is_kept_free_for_its_account(void **state) {
        struct account node, a, b, *over = NULL;
        struct charge of_a = { 0 }, of_b = { 0 }, more = { 0 };

        account_init(&node, NULL, 100);
        account_init(&a, &node, ACCOUNT_NO_LIMIT);
        account_init(&b, &node, ACCOUNT_NO_LIMIT);
        assert_int_equal(account_set_min(&a, 60), 0);
        assert_int_equal(account_set_min(&b, 41), LEDGER_E_LIMIT);
        assert_int_equal(account_room(&a), 100);
        assert_int_equal(account_room(&b), 40);
        assert_int_equal(account_room(&node), 40);
        assert_int_equal(account_most_at(&b, &node), 40);
        assert_int_equal(account_most_at(&a, &node), 100);

        assert_int_equal(charge_take(&of_b, &b, 41, &over), LEDGER_E_LIMIT);
        assert_ptr_equal(over, &node);
        assert_int_equal(charge_take(&of_b, &b, 40, NULL), 0);
        assert_int_equal(account_room(&a), 60);
        assert_int_equal(charge_take(&of_a, &a, 20, NULL), 0);
        assert_int_equal(account_unused(&a), 40);
        assert_int_equal(account_room(&b), 0);
        assert_int_equal(account_room(&a), 40);
        charge_drop(&of_b);
        assert_int_equal(account_room(&b), 40);

        /* What is above its min it has as anybody. */
        assert_int_equal(charge_take(&more, &a, 70, NULL), 0);
        assert_int_equal(account_unused(&a), 0);
        assert_int_equal(account_room(&b), 10);
        assert_int_equal(account_set_min(&a, 100), 0);
        assert_int_equal(account_room(&b), 0);
        assert_int_equal(account_set_min(&a, 0), 0);
        assert_int_equal(node.promised + node.held, 0);
        assert_int_equal(account_set_min(&b, 100), 0);
        charge_drop(&more);
        charge_drop(&of_a);
}

/* A node that is promised and was overrun past its limit: who has a min takes from what is free, never more. */
static void test_min_in_a_full_node(void **state) {
        struct account node, a, b;
        struct charge forced = { 0 }, c = { 0 };

        account_init(&node, NULL, 100);
        account_init(&a, &node, ACCOUNT_NO_LIMIT);
        account_init(&b, &node, ACCOUNT_NO_LIMIT);
        assert_int_equal(account_set_min(&a, 50), 0);
        charge_force(&forced, &b, 90);
        assert_int_equal(account_room(&a), 10);
        assert_int_equal(account_room(&b), 0);
        assert_int_equal(charge_take(&c, &a, 11, NULL), LEDGER_E_LIMIT);
        assert_int_equal(charge_take(&c, &a, 10, NULL), 0);
        assert_int_equal(node.used, 100);
        charge_drop(&c);
        charge_drop(&forced);
        account_fini(&a);
        assert_int_equal(node.promised, 0);
}

static void test_second_root(void **state) {
        struct account node, partition, session, outer, group, *over = NULL;
        struct charge c = { 0 }, more = { 0 };

        account_init(&node, NULL, 1000);
        account_init(&partition, &node, ACCOUNT_NO_LIMIT);
        account_init(&session, &partition, ACCOUNT_NO_LIMIT);
        account_init_aside(&outer, NULL, &node);
        account_init_aside(&group, NULL, &node);
        assert_int_equal(charge_take(&c, &session, 100, NULL), 0);
        account_set_also(&session, &group);
        assert_int_equal(group.used, 100);
        account_set_outer(&group, &outer);
        assert_int_equal(outer.used, 100);
        outer.max = 150;
        assert_int_equal(account_room(&session), 50);
        assert_int_equal(charge_take(&more, &session, 51, &over), LEDGER_E_LIMIT);
        assert_ptr_equal(over, &outer);
        assert_int_equal(charge_take(&more, &session, 50, NULL), 0);
        assert_int_equal(node.used, 150);

        /* Who lifts it pays alone. */
        charge_lift(&more, &partition);
        assert_int_equal(group.used, 100);
        assert_int_equal(outer.used, 100);
        assert_int_equal(partition.used, 150);
        account_set_also(&session, NULL);
        assert_int_equal(group.used + outer.used, 0);
        assert_int_equal(node.used, 150);
        account_set_also(&session, &group);
        charge_drop(&c);
        charge_drop(&more);
        assert_int_equal(node.used + group.used + outer.used, 0);
        account_fini(&session);
        account_fini(&group);
        assert_int_equal(outer.children, 0);
}

/* ---- against a model ---- */

struct world {
        struct account account[ACCOUNTS];
        struct charge charge[CHARGES];
        /* What the model believes of each charge: its account (-1: empty) and bytes; and the peaks. */
        int where[CHARGES];
        uint64_t bytes[CHARGES], peak[ACCOUNTS];
        int parent[ACCOUNTS], also[ACCOUNTS], node[ACCOUNTS]; /* -1: none */
        uint64_t min[ACCOUNTS];
        uint64_t used[ACCOUNTS]; /* model_used() of the last check */
};

static bool is_session(int a) {
        return a >= NODES + PARTITIONS && a < FIRST_GROUP;
}

static int up(const struct world *w, int leaf, int at) {
        return w->parent[at] >= 0 ? w->parent[at] : at >= FIRST_GROUP ? -1 : w->also[leaf];
}

static bool reaches(const struct world *w, int leaf, int a) {
        for (int at = leaf; at >= 0; at = up(w, leaf, at))
                if (at == a)
                        return true;
        return false;
}

static uint64_t model_used(const struct world *w, int a) {
        uint64_t sum = 0;

        for (int i = 0; i < CHARGES; i++)
                if (w->where[i] >= 0 && reaches(w, w->where[i], a))
                        sum += w->bytes[i];
        return sum;
}

static int within(const struct world *w, int a) {
        return a >= FIRST_GROUP ? w->node[a] : w->parent[a];
}

static uint64_t model_unused(const struct world *w, int a) {
        return w->min[a] > w->used[a] ? w->min[a] - w->used[a] : 0;
}

static bool model_fits(const struct world *w, int leaf, int at, uint64_t bytes) {
        uint64_t own = 0, others = 0, used = w->used[at], max = w->account[at].max;

        for (int a = 0; a < ACCOUNTS; a++)
                if (within(w, a) == at)
                        *(reaches(w, leaf, a) ? &own : &others) += model_unused(w, a);
        if (bytes > max || used > max - bytes)
                return bytes == 0;
        return bytes <= own || used + bytes + others <= max;
}

/* The first account from the leaf up that has no room for `bytes` more, or -1. */
static int model_over(const struct world *w, int leaf, uint64_t bytes) {
        for (int at = leaf; at >= 0; at = up(w, leaf, at))
                if (!model_fits(w, leaf, at, bytes))
                        return at;
        return -1;
}

static void world_check(struct world *w) {
        for (int a = 0; a < ACCOUNTS; a++)
                w->used[a] = model_used(w, a);
        for (int a = 0; a < ACCOUNTS; a++) {
                uint64_t used = w->used[a], charges = 0, promised = 0, held = 0;

                for (int i = 0; i < CHARGES; i++)
                        charges += w->where[i] == a;
                for (int b = 0; b < ACCOUNTS; b++) {
                        promised += within(w, b) == a ? w->min[b] : 0;
                        held += within(w, b) == a ? model_unused(w, b) : 0;
                }
                if (used > w->peak[a])
                        w->peak[a] = used;
                assert_int_equal(w->account[a].used, used);
                assert_int_equal(w->account[a].charges, charges);
                assert_int_equal(w->account[a].peak, w->peak[a]);
                assert_int_equal(w->account[a].promised, promised);
                assert_int_equal(w->account[a].held, held);
        }
}

static void random_take(struct world *w, int i) {
        int a = (int)next_random(FIRST_GROUP), over;
        uint64_t bytes = next_random(8) ? next_random(2000) : 0;
        struct account *ret_over = NULL;

        over = model_over(w, a, bytes);
        if (over >= 0) {
                assert_int_equal(charge_take(&w->charge[i], &w->account[a], bytes, &ret_over), LEDGER_E_LIMIT);
                assert_ptr_equal(ret_over, &w->account[over]);
                assert_true(account_room(&w->account[a]) < bytes);
                return;
        }
        assert_true(!bytes || account_room(&w->account[a]) >= bytes);
        assert_int_equal(charge_take(&w->charge[i], &w->account[a], bytes, &ret_over), 0);
        w->where[i] = a;
        w->bytes[i] = bytes;
}

static void random_min(struct world *w) {
        int a = (int)next_random(ACCOUNTS), in = within(w, a);
        uint64_t min = next_random(3) ? next_random(4000) : 0, promised = 0;
        bool ok = min <= w->account[a].max;

        for (int b = 0; b < ACCOUNTS; b++)
                promised += b != a && in >= 0 && within(w, b) == in ? w->min[b] : 0;
        if (in >= 0 && min > w->min[a] && promised + min > w->account[in].max)
                ok = false;
        assert_int_equal(account_set_min(&w->account[a], min), ok ? 0 : LEDGER_E_LIMIT);
        if (ok)
                w->min[a] = min;
}

/* A session goes to another group of its node; a group gets another one around it. */
static void random_group(struct world *w) {
        int a = (int)next_random(ACCOUNTS), g = FIRST_GROUP + (int)next_random(GROUPS);
        struct account *to;

        if (w->node[a] != w->node[g] || (a >= FIRST_GROUP && g >= a))
                g = -1;
        to = g >= 0 ? &w->account[g] : NULL;
        if (a >= FIRST_GROUP) {
                account_set_outer(&w->account[a], to);
                w->parent[a] = g;
        } else if (is_session(a)) {
                account_set_also(&w->account[a], to);
                w->also[a] = g;
        }
}

static void random_lift(struct world *w, int i) {
        int a = w->where[i];

        while (w->parent[a] >= 0 && next_random(2))
                a = w->parent[a];
        charge_lift(&w->charge[i], &w->account[a]);
        w->where[i] = a;
}

static void random_step(struct world *w) {
        int i = (int)next_random(CHARGES);

        if (next_random(50) == 0)
                w->account[next_random(ACCOUNTS)].max = next_random(4) ? next_random(20000) : ACCOUNT_NO_LIMIT;
        else if (next_random(30) == 0)
                random_min(w);
        else if (next_random(30) == 0)
                random_group(w);
        else if (w->where[i] < 0)
                random_take(w, i);
        else if (next_random(3) == 0)
                random_lift(w, i);
        else {
                charge_drop(&w->charge[i]);
                w->where[i] = -1;
        }
}

static void world_make(struct world *w) {
        for (int a = 0; a < ACCOUNTS; a++) {
                uint64_t max = 5000 + next_random(15000);

                w->also[a] = w->parent[a] = -1;
                if (a >= NODES && a < NODES + PARTITIONS)
                        w->parent[a] = (a - NODES) % NODES;
                else if (is_session(a))
                        w->parent[a] = NODES + (a - NODES - PARTITIONS) % PARTITIONS;
                w->node[a] = a < NODES ? a : w->parent[a] >= 0 ? w->node[w->parent[a]] : (a - FIRST_GROUP) % NODES;
                if (a >= FIRST_GROUP)
                        account_init_aside(&w->account[a], NULL, &w->account[w->node[a]]);
                else
                        account_init(&w->account[a], a < NODES ? NULL : &w->account[w->parent[a]], max);
        }
        for (int i = 0; i < CHARGES; i++)
                w->where[i] = -1;
}

static void test_random(void **state) {
        static struct world w;

        seed_random();
        world_make(&w);
        for (int step = 0; step < 30000; step++) {
                random_step(&w);
                world_check(&w);
        }

        for (int i = 0; i < CHARGES; i++)
                charge_drop(&w.charge[i]);
        for (int a = NODES; a < FIRST_GROUP; a++)
                account_set_also(&w.account[a], NULL);
        for (int a = ACCOUNTS - 1; a >= FIRST_GROUP; a--)
                account_fini(&w.account[a]);
        for (int a = FIRST_GROUP - 1; a >= 0; a--) {
                assert_int_equal(w.account[a].used, 0);
                assert_int_equal(w.account[a].charges, 0);
                assert_int_equal(w.account[a].children, 0);
                assert_int_equal(w.account[a].promised, 0);
                assert_int_equal(w.account[a].held, 0);
                account_fini(&w.account[a]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_charge_reaches_every_ancestor),
                cmocka_unit_test(test_limit_names_the_lowest_account_that_is_over),
                cmocka_unit_test(test_max_below_used_takes_nothing_away),
                cmocka_unit_test(test_sum_cannot_overflow),
                cmocka_unit_test(test_full_charge_is_not_taken_twice),
                cmocka_unit_test(test_lift),
                cmocka_unit_test(test_min_is_kept_free_for_its_account),
                cmocka_unit_test(test_min_in_a_full_node),
                cmocka_unit_test(test_second_root),
                cmocka_unit_test(test_random),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
