/*
 * Directed cases, then random takes, drops and lifts on a tree of accounts against a model that keeps
 * nothing but the list of live charges and sums it up anew after every step.
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

enum { NODES = 2, PARTITIONS = 6, SESSIONS = 24, ACCOUNTS = NODES + PARTITIONS + SESSIONS, CHARGES = 200 };

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

struct world {
        struct account account[ACCOUNTS];
        struct charge charge[CHARGES];
        /* What the model believes of each charge: its account (-1: empty) and bytes; and the peaks. */
        int where[CHARGES];
        uint64_t bytes[CHARGES], peak[ACCOUNTS];
};

static int parent_of(int a) {
        if (a < NODES)
                return -1;
        if (a < NODES + PARTITIONS)
                return (a - NODES) % NODES;
        return NODES + (a - NODES - PARTITIONS) % PARTITIONS;
}

static int is_under(int a, int ancestor) {
        for (; a >= 0; a = parent_of(a))
                if (a == ancestor)
                        return 1;
        return 0;
}

static uint64_t model_used(const struct world *w, int a) {
        uint64_t sum = 0;

        for (int i = 0; i < CHARGES; i++)
                if (w->where[i] >= 0 && is_under(w->where[i], a))
                        sum += w->bytes[i];
        return sum;
}

/* The first account from the leaf up that `bytes` more would take over its max, or -1. */
static int model_over(const struct world *w, int a, uint64_t bytes) {
        for (; a >= 0; a = parent_of(a)) {
                uint64_t used = model_used(w, a), max = w->account[a].max;

                if (bytes && (used > max || bytes > max - used))
                        return a;
        }
        return -1;
}

static void world_check(struct world *w) {
        for (int a = 0; a < ACCOUNTS; a++) {
                uint64_t used = model_used(w, a), charges = 0;

                for (int i = 0; i < CHARGES; i++)
                        charges += w->where[i] == a;
                if (used > w->peak[a])
                        w->peak[a] = used;
                assert_int_equal(w->account[a].used, used);
                assert_int_equal(w->account[a].charges, charges);
                assert_int_equal(w->account[a].peak, w->peak[a]);
        }
}

static void random_take(struct world *w, int i) {
        int a = next_random(ACCOUNTS), over;
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

static void random_step(struct world *w) {
        int i = next_random(CHARGES), a;

        if (next_random(50) == 0) {
                w->account[next_random(ACCOUNTS)].max = next_random(4) ? next_random(20000) : ACCOUNT_NO_LIMIT;
        } else if (w->where[i] < 0) {
                random_take(w, i);
        } else if (next_random(3) == 0) {
                a = w->where[i];
                while (parent_of(a) >= 0 && next_random(2))
                        a = parent_of(a);
                charge_lift(&w->charge[i], &w->account[a]);
                w->where[i] = a;
        } else {
                charge_drop(&w->charge[i]);
                w->where[i] = -1;
        }
}

static void test_random(void **state) {
        static struct world w;

        seed_random();
        for (int a = 0; a < ACCOUNTS; a++)
                account_init(&w.account[a], a < NODES ? NULL : &w.account[parent_of(a)], 5000 + next_random(15000));
        for (int i = 0; i < CHARGES; i++)
                w.where[i] = -1;

        for (int step = 0; step < 20000; step++) {
                random_step(&w);
                world_check(&w);
        }

        for (int i = 0; i < CHARGES; i++)
                charge_drop(&w.charge[i]);
        for (int a = ACCOUNTS - 1; a >= 0; a--) {
                assert_int_equal(w.account[a].used, 0);
                assert_int_equal(w.account[a].charges, 0);
                assert_int_equal(w.account[a].children, 0);
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
                cmocka_unit_test(test_random),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
