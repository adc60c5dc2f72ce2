/*
 * Directed cases, then a random market: sessions of several partitions ask, are called off and give back, limits
 * change. After each step a naive model, which knows only numbers, must have granted the same ones in the same order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/admission.h"

#define G (1ull << 30)

enum { NODES = 3, PARTITIONS = 4, SESSIONS = 12, ASKS = 64, STEPS = 200000 };

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

/* ---- a world: every session may have what its partition may ---- */

static struct account nodes[NODES], partitions[PARTITIONS][NODES], sessions[SESSIONS][NODES];
static struct admission_share shares[PARTITIONS];
static struct admission_line line;

static unsigned partition_of(unsigned session) {
        return session % PARTITIONS;
}

static void world(uint64_t on_node, uint64_t on_partition) {
        admission_line_init(&line, NULL, NULL);
        memset(shares, 0, sizeof(shares));
        for (unsigned n = 0; n < NODES; n++) {
                account_init(&nodes[n], NULL, on_node);
                for (unsigned p = 0; p < PARTITIONS; p++)
                        account_init(&partitions[p][n], &nodes[n], on_partition);
                for (unsigned s = 0; s < SESSIONS; s++)
                        account_init(&sessions[s][n], &partitions[partition_of(s)][n], ACCOUNT_NO_LIMIT);
        }
}

struct ask {
        struct admission a;
        struct admission_need needs[NODES];
        unsigned session;
        enum { FREE, WAITS, HAS } state;
};

static void ask(struct ask *x, unsigned session, uint32_t priority, const uint64_t *bytes) {
        *x = (struct ask){ .session = session, .state = WAITS };
        x->a = (struct admission){ .share = &shares[partition_of(session)], .needs = x->needs, .priority = priority };
        for (unsigned n = 0; n < NODES; n++)
                if (bytes[n])
                        x->needs[x->a.count++] =
                                (struct admission_need){ .account = &sessions[session][n], .bytes = bytes[n] };
        admission_enter(&line, &x->a);
}

static void ask_one(struct ask *x, unsigned session, uint32_t priority, unsigned node, uint64_t bytes) {
        uint64_t all[NODES] = { 0 };

        all[node] = bytes;
        ask(x, session, priority, all);
}

static void give_back(struct ask *x) {
        for (uint32_t i = 0; i < x->a.count; i++)
                charge_drop(&x->needs[i].charge);
        x->state = FREE;
}

/* How many; their order is in `order`. */
static unsigned step(struct ask **order, unsigned max) {
        struct list granted;
        unsigned count = 0;

        list_init(&granted);
        admission_step(&line, &granted);
        while (!list_empty(&granted)) {
                struct ask *x = container_of(container_of(granted.next, struct admission, by_line), struct ask, a);

                list_remove(&x->a.by_line);
                assert_int_equal(x->state, WAITS);
                x->state = HAS;
                assert_true(count < max);
                order[count++] = x;
        }
        return count;
}

/* ---- directed ---- */

static void test_all_or_nothing(void **state) {
        uint64_t both[NODES] = { 6 * G, 6 * G };
        struct ask a, b, c, *order[4];

        world(10 * G, ACCOUNT_NO_LIMIT);
        ask_one(&a, 0, 0, 1, 5 * G);
        assert_int_equal(step(order, 4), 1);
        ask(&b, 1, 0, both);
        assert_int_equal(step(order, 4), 0);
        assert_ptr_equal(admission_lacks(&b.a), &nodes[1]);
        assert_null(admission_too_much(&b.a));
        assert_int_equal(nodes[0].used, 0);
        /* What b waits for is b's on both nodes; the rest is not. */
        ask_one(&c, 2, 0, 0, 5 * G);
        assert_int_equal(step(order, 4), 0);
        admission_call_off(&line, &c.a);
        ask_one(&c, 2, 0, 0, 4 * G);
        assert_int_equal(step(order, 4), 1);
        assert_ptr_equal(order[0], &c);
        give_back(&a);
        assert_int_equal(step(order, 4), 1);
        assert_ptr_equal(order[0], &b);
        assert_int_equal(nodes[0].used, 10 * G);
        assert_int_equal(nodes[1].used, 6 * G);
        assert_int_equal(nodes[0].claimed + nodes[1].claimed, 0);
        assert_int_equal(line.count, 0);
}

static void test_priority_then_fair_then_first(void **state) {
        struct ask all, many[3], other, urgent, *order[8];

        world(10 * G, ACCOUNT_NO_LIMIT);
        ask_one(&all, 0, 0, 0, 10 * G);
        assert_int_equal(step(order, 8), 1);
        for (unsigned i = 0; i < 3; i++)
                ask_one(&many[i], 0, 0, 0, 2 * G);
        ask_one(&other, 1, 0, 0, 2 * G);
        ask_one(&urgent, 2, 1, 0, 2 * G);
        assert_int_equal(step(order, 8), 0);
        give_back(&all);
        assert_int_equal(step(order, 8), 5);
        assert_ptr_equal(order[0], &urgent);
        assert_ptr_equal(order[1], &many[0]);
        assert_ptr_equal(order[2], &other);
        assert_ptr_equal(order[3], &many[1]);
        assert_ptr_equal(order[4], &many[2]);
}

/* Partition 0 has all that it may have: those who wait for that stand in nobody's way but each other's. */
static void test_own_limit_is_own(void **state) {
        struct ask all, waits, behind, other, *order[8];

        world(10 * G, 4 * G);
        ask_one(&all, 0, 0, 0, 3 * G);
        assert_int_equal(step(order, 8), 1);
        ask_one(&waits, 0, 9, 0, 2 * G);
        ask_one(&behind, 4, 0, 0, G);
        ask_one(&other, 1, 0, 0, 4 * G);
        assert_int_equal(step(order, 8), 1);
        assert_ptr_equal(order[0], &other);
        assert_ptr_equal(admission_lacks(&waits.a), &partitions[0][0]);
        give_back(&all);
        assert_int_equal(step(order, 8), 2);
        assert_ptr_equal(order[0], &waits);
        assert_ptr_equal(order[1], &behind);
}

/* A limit that was lowered below what somebody waits for. He waits on, and nobody waits for him. */
static void test_too_much(void **state) {
        struct ask all, waits, other, *order[8];

        world(10 * G, ACCOUNT_NO_LIMIT);
        ask_one(&all, 0, 0, 0, 9 * G);
        assert_int_equal(step(order, 8), 1);
        ask_one(&waits, 1, 0, 0, 4 * G);
        assert_int_equal(step(order, 8), 0);
        partitions[1][0].max = 3 * G;
        assert_ptr_equal(admission_too_much(&waits.a), &partitions[1][0]);
        ask_one(&other, 2, 0, 0, G);
        assert_int_equal(step(order, 8), 1);
        give_back(&all);
        assert_int_equal(step(order, 8), 0);
        partitions[1][0].max = 5 * G;
        assert_int_equal(step(order, 8), 1);
        assert_ptr_equal(order[0], &waits);
}

/* A stream of urgent small ones never lets node 0 be empty. */
static void test_nobody_starves(void **state) {
        struct ask small[2], big, *order[8];
        unsigned rounds = 0;

        world(10 * G, ACCOUNT_NO_LIMIT);
        ask_one(&small[0], 1, 100, 0, G);
        assert_int_equal(step(order, 8), 1);
        ask_one(&big, 0, 0, 0, 10 * G);
        while (big.state == WAITS) {
                unsigned old = rounds % 2, new = !old;

                ask_one(&small[new], 1 + rounds % (SESSIONS - 1), 100, 0, G);
                step(order, 8);
                if (small[old].state == HAS)
                        give_back(&small[old]);
                step(order, 8);
                if (small[new].state == WAITS && big.state == WAITS) {
                        admission_call_off(&line, &small[new].a);
                        small[new].state = FREE;
                }
                assert_true(++rounds <= ADMISSION_OVERTAKEN + 4);
        }
        assert_true(rounds > ADMISSION_OVERTAKEN / 2);
}

/* ---- the model ---- */

struct model {
        unsigned session, overtaken;
        uint32_t priority;
        uint64_t number, start, bytes[NODES];
        struct ask *ask;
};

static struct model waiting[ASKS];
static unsigned waiting_count;
static uint64_t on_node[NODES], on_partition[PARTITIONS][NODES]; /* used */

static int by_turn(const void *x, const void *y) {
        const struct model *a = x, *b = y;
        bool old_a = a->overtaken >= ADMISSION_OVERTAKEN, old_b = b->overtaken >= ADMISSION_OVERTAKEN;

        if (old_a != old_b)
                return old_a ? -1 : 1;
        if (!old_a && a->priority != b->priority)
                return a->priority > b->priority ? -1 : 1;
        if (!old_a && a->start != b->start)
                return a->start < b->start ? -1 : 1;
        return a->number < b->number ? -1 : 1;
}

static bool fits(const struct model *m, unsigned n, const uint64_t *node_claims, uint64_t (*claims)[NODES],
                 bool node_too) {
        unsigned p = partition_of(m->session);

        return on_partition[p][n] + claims[p][n] + m->bytes[n] <= partitions[p][n].max &&
               (!node_too || on_node[n] + node_claims[n] + m->bytes[n] <= nodes[n].max);
}

static bool never(const struct model *m) {
        for (unsigned n = 0; n < NODES; n++)
                if (m->bytes[n] > partitions[partition_of(m->session)][n].max || m->bytes[n] > nodes[n].max)
                        return true;
        return false;
}

/* Fills `order` with those that a step must grant. */
static unsigned model_step(struct ask **order) {
        uint64_t node_claims[NODES] = { 0 }, claims[PARTITIONS][NODES] = { { 0 } };
        struct model granted[ASKS];
        unsigned count = 0, left = 0;

        qsort(waiting, waiting_count, sizeof(*waiting), by_turn);
        for (unsigned i = 0; i < waiting_count; i++) {
                struct model *m = &waiting[i];
                bool all = true, own = true;

                for (unsigned n = 0; n < NODES; n++) {
                        all &= m->bytes[n] == 0 || fits(m, n, node_claims, claims, true);
                        own &= m->bytes[n] == 0 || fits(m, n, node_claims, claims, false);
                }
                for (unsigned n = 0; n < NODES; n++) {
                        uint64_t *node = all ? on_node : node_claims,
                                 *p = all ? on_partition[partition_of(m->session)] : claims[partition_of(m->session)];

                        if (!all && never(m))
                                continue;
                        p[n] += m->bytes[n];
                        if (own)
                                node[n] += m->bytes[n];
                }
                if (all)
                        granted[count++] = *m;
                else
                        waiting[left++] = *m;
        }
        waiting_count = left;
        for (unsigned g = 0; g < count; g++) {
                order[g] = granted[g].ask;
                for (unsigned i = 0; i < waiting_count; i++) {
                        bool meet = false;

                        for (unsigned n = 0; n < NODES; n++)
                                meet |= waiting[i].bytes[n] && granted[g].bytes[n];
                        waiting[i].overtaken += meet && waiting[i].number < granted[g].number;
                }
        }
        return count;
}

static void check_sums(const struct ask *asks) {
        uint64_t sum[NODES] = { 0 };

        for (unsigned i = 0; i < ASKS; i++)
                for (uint32_t k = 0; asks[i].state == HAS && k < asks[i].a.count; k++)
                        for (unsigned n = 0; n < NODES; n++)
                                if (asks[i].needs[k].account == &sessions[asks[i].session][n])
                                        sum[n] += asks[i].needs[k].bytes;
        for (unsigned n = 0; n < NODES; n++) {
                assert_int_equal(nodes[n].used, sum[n]);
                assert_int_equal(nodes[n].used, on_node[n]);
                assert_true(nodes[n].used <= nodes[n].max);
                assert_int_equal(nodes[n].claimed, 0);
        }
        assert_int_equal(line.count, waiting_count);
}

static void random_ask(struct ask *x) {
        uint64_t bytes[NODES] = { 0 };
        unsigned session = (unsigned)next_random(SESSIONS);
        uint32_t priority = (uint32_t)next_random(10) == 0 ? (uint32_t)next_random(3) : 0;

        for (unsigned n = 0; n < NODES; n++)
                bytes[n] = next_random(2) ? (1 + next_random(40)) << 28 : 0;
        bytes[next_random(NODES)] = (1 + next_random(8)) << 28;
        ask(x, session, priority, bytes);
        waiting[waiting_count] = (struct model){
                .session = session, .priority = priority, .number = x->a.number, .start = x->a.start, .ask = x
        };
        memcpy(waiting[waiting_count++].bytes, bytes, sizeof(bytes));
}

static void leave(struct ask *x) {
        unsigned i = 0;

        if (x->state == HAS) {
                for (uint32_t k = 0; k < x->a.count; k++)
                        for (unsigned n = 0; n < NODES; n++)
                                if (x->needs[k].account == &sessions[x->session][n]) {
                                        on_node[n] -= x->needs[k].bytes;
                                        on_partition[partition_of(x->session)][n] -= x->needs[k].bytes;
                                }
                give_back(x);
                return;
        }
        while (waiting[i].ask != x)
                i++;
        waiting[i] = waiting[--waiting_count];
        admission_call_off(&line, &x->a);
        x->state = FREE;
}

static void random_change(struct ask *asks) {
        struct ask *x = &asks[next_random(ASKS)];

        if (x->state == FREE)
                random_ask(x);
        else if (x->state == HAS || next_random(8) == 0)
                leave(x);
        if (next_random(50) == 0)
                partitions[next_random(PARTITIONS)][next_random(NODES)].max = (1 + next_random(20)) << 30;
}

static void test_random(void **state) {
        static struct ask asks[ASKS];
        struct ask *order[ASKS], *expected[ASKS];
        uint64_t granted = 0, most = 0;

        seed_random();
        world(24 * G, 12 * G);
        for (unsigned i = 0; i < STEPS; i++) {
                unsigned count, model;

                random_change(asks);
                model = model_step(expected);
                count = step(order, ASKS);
                assert_int_equal(count, model);
                for (unsigned k = 0; k < count; k++)
                        assert_ptr_equal(order[k], expected[k]);
                check_sums(asks);
                granted += count;
                most = waiting_count > most ? waiting_count : most;
        }
        printf("%d changes: %llu granted, up to %llu in line\n", STEPS, (unsigned long long)granted,
               (unsigned long long)most);
        assert_true(granted > STEPS / 10 && most > 8);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_or_nothing),   cmocka_unit_test(test_priority_then_fair_then_first),
                cmocka_unit_test(test_own_limit_is_own), cmocka_unit_test(test_too_much),
                cmocka_unit_test(test_nobody_starves),   cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
