/*
 * A machine in simulated time: thousands of processes come, ask for random bytes on several nodes, with priorities and
 * some only for a while, hold what they get, and give it back or crash; limits change under them. No sum ever passes a
 * limit; whenever nobody holds anything, nobody waits who could be granted; who is next because he was overtaken too
 * often has room within his own limits as soon as those have ended who held something then, and his turn when those
 * have who held something at that moment; and in the end everybody was granted, has given up, or crashed. Then
 * partitions that ask all the time, with different numbers of processes: at any moment they were granted alike.
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

#define M (1ull << 20)

enum { NODES_MAX = 12, PARTITIONS = 6, PROCESSES = 4000, WORKLOADS = 6 };

static uint64_t rng;

static uint64_t below(uint64_t bound) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % bound;
}

/* ---- the machine ---- */

struct process {
        struct admission a;
        struct admission_need needs[NODES_MAX];
        unsigned partition;
        uint64_t due, holds_for, waits_for, mark;
        enum { COMES, WAITS, HOLDS, ENDED } state;
        bool was_granted, gave_up;
        struct account accounts[NODES_MAX];
};

static struct account nodes[NODES_MAX], partitions[PARTITIONS][NODES_MAX];
static struct admission_share shares[PARTITIONS];
static struct admission_line line;
static struct process *all, **heap;
static unsigned nodes_count, heap_count, holding;
static uint64_t now;

static void machine_new(unsigned count) {
        nodes_count = count;
        admission_line_init(&line, NULL, NULL);
        memset(shares, 0, sizeof(shares));
        for (unsigned n = 0; n < count; n++) {
                account_init(&nodes[n], NULL, (16 + below(240)) * M);
                for (unsigned p = 0; p < PARTITIONS; p++)
                        account_init(&partitions[p][n], &nodes[n],
                                     below(3) ? ACCOUNT_NO_LIMIT : nodes[n].max / 2 + below(nodes[n].max));
        }
        all = calloc(PROCESSES, sizeof(*all));
        heap = calloc(PROCESSES, sizeof(struct process *));
        assert_true(all && heap);
        heap_count = holding = 0;
        now = 0;
}

static void machine_end(void) {
        for (unsigned i = 0; i < PROCESSES; i++)
                for (unsigned n = 0; n < nodes_count && all[i].accounts[n].parent; n++)
                        account_fini(&all[i].accounts[n]);
        for (unsigned n = 0; n < nodes_count; n++)
                assert_int_equal(nodes[n].used, 0);
        free(all);
        free(heap);
}

/* ---- time: a heap of those to whom something happens next ---- */

static void swap(unsigned a, unsigned b) {
        struct process *x = heap[a];

        heap[a] = heap[b];
        heap[b] = x;
}

static void heap_add(struct process *p, uint64_t due) {
        unsigned i = heap_count++;

        p->due = due;
        heap[i] = p;
        for (; i > 0 && heap[i]->due < heap[(i - 1) / 2]->due; i = (i - 1) / 2)
                swap(i, (i - 1) / 2);
}

static void heap_remove(unsigned i) {
        heap[i] = heap[--heap_count];
        for (; i > 0 && i < heap_count && heap[i]->due < heap[(i - 1) / 2]->due; i = (i - 1) / 2)
                swap(i, (i - 1) / 2);
        for (unsigned k; (k = 2 * i + 1) < heap_count; i = k) {
                if (k + 1 < heap_count && heap[k + 1]->due < heap[k]->due)
                        k++;
                if (heap[i]->due <= heap[k]->due)
                        break;
                swap(i, k);
        }
}

static void forget(const struct process *p) {
        for (unsigned i = 0; i < heap_count; i++)
                if (heap[i] == p) {
                        heap_remove(i);
                        return;
                }
}

/* ---- what must hold ---- */

static void check_limits(bool lowered) {
        for (unsigned n = 0; n < nodes_count; n++) {
                assert_true(nodes[n].used <= nodes[n].max);
                assert_int_equal(nodes[n].claimed, 0);
                for (unsigned p = 0; p < PARTITIONS; p++)
                        assert_true(lowered || partitions[p][n].used <= partitions[p][n].max);
        }
}

/* Nothing stands in the way of the first one, so it would wait for ever. */
static void check_no_deadlock(void) {
        if (holding > 0)
                return;
        list_for_each (l, &line.waiting)
                assert_non_null(admission_too_much(container_of(l, struct admission, by_line)));
}

static struct {
        const struct process *first;
        uint64_t mark;
        unsigned left, times;
} turn;

static void mark_holders(void) {
        turn.mark++;
        turn.left = 0;
        for (unsigned i = 0; i < PROCESSES; i++)
                if (all[i].state == HOLDS) {
                        all[i].mark = turn.mark;
                        turn.left++;
                }
}

/* Who has been overtaken too often and is first of them all has what is given back from now on: within his own limits,
 * and once those have room, on the nodes. */
static void check_turn(bool limits_changed) {
        const struct admission *a =
                list_empty(&line.waiting) ? NULL : container_of(line.waiting.next, struct admission, by_line);
        const struct process *p = a ? container_of(a, struct process, a) : NULL;

        if (!p || a->overtaken < ADMISSION_OVERTAKEN || admission_too_much(a)) {
                turn.first = NULL;
                return;
        }
        if (p == turn.first && !limits_changed && turn.left > 0)
                return;
        turn.times = p == turn.first && !limits_changed ? turn.times + 1 : 0;
        assert_true(turn.times < 2);
        turn.first = p;
        mark_holders();
}

/* ---- what processes do ---- */

static unsigned long granted_count, called_off, crashed, old_ones, most_waiting;

static void step(bool limits_changed) {
        struct list granted;

        list_init(&granted);
        admission_step(&line, &granted);
        while (!list_empty(&granted)) {
                struct process *p =
                        container_of(container_of(granted.next, struct admission, by_line), struct process, a);

                list_remove(&p->a.by_line);
                assert_int_equal(p->state, WAITS);
                old_ones += p->a.overtaken >= ADMISSION_OVERTAKEN;
                p->state = HOLDS;
                p->was_granted = true;
                holding++;
                granted_count++;
                forget(p);
                heap_add(p, now + p->holds_for);
        }
        most_waiting = line.count > most_waiting ? line.count : most_waiting;
        check_limits(true);
        check_no_deadlock();
        check_turn(limits_changed);
}

static void ends(struct process *p) {
        for (uint32_t i = 0; i < p->a.count; i++)
                charge_drop(&p->needs[i].charge);
        if (p->state == HOLDS) {
                holding--;
                turn.left -= turn.first && p->mark == turn.mark;
        } else {
                admission_call_off(&line, &p->a);
                if (turn.first == p)
                        turn.first = NULL;
        }
        p->state = ENDED;
}

static void asks(struct process *p, uint64_t greed) {
        unsigned first = (unsigned)below(nodes_count), count = 1 + (unsigned)below(below(4) ? 2 : nodes_count);

        p->a = (struct admission){ .share = &shares[p->partition],
                                   .needs = p->needs,
                                   .priority = below(8) ? 0 : (uint32_t)below(4) };
        for (unsigned i = 0; i < count && i < nodes_count; i++) {
                unsigned n = (first + i) % nodes_count;
                uint64_t most = nodes[n].max / 4096, bytes = (1 + below(1 + most * greed / 100)) * 4096;

                if (partitions[p->partition][n].max < bytes)
                        bytes = 4096;
                account_init(&p->accounts[n], &partitions[p->partition][n], ACCOUNT_NO_LIMIT);
                p->needs[p->a.count++] =
                        (struct admission_need){ .account = &p->accounts[n],
                                                 .bytes = bytes > nodes[n].max ? nodes[n].max : bytes };
        }
        admission_enter(&line, &p->a);
        p->state = WAITS;
        if (p->waits_for)
                heap_add(p, now + p->waits_for);
}

/* Who waits for ever has no event; somebody may still crash. */
static void crash_one(void) {
        uint64_t i = below(PROCESSES), end = i + PROCESSES;
        struct process *p;

        while (i < end && all[i % PROCESSES].state != WAITS && all[i % PROCESSES].state != HOLDS)
                i++;
        if (i == end)
                return;
        p = &all[i % PROCESSES];
        forget(p);
        crashed++;
        p->gave_up = true;
        ends(p);
        step(false);
}

static void change_a_limit(void) {
        unsigned p = (unsigned)below(PARTITIONS), n = (unsigned)below(nodes_count);

        partitions[p][n].max = below(2) ? ACCOUNT_NO_LIMIT : nodes[n].max / 2 + below(nodes[n].max);
        step(true);
}

static void happens(struct process *p, uint64_t greed) {
        now = p->due;
        heap_remove(0);
        if (p->state == COMES) {
                asks(p, greed);
        } else {
                called_off += p->state == WAITS;
                p->gave_up |= p->state == WAITS;
                ends(p);
        }
        step(false);
}

static void test_workload(uint64_t greed, uint64_t rush) {
        machine_new(2 + (unsigned)below(NODES_MAX - 1));
        for (unsigned i = 0; i < PROCESSES; i++) {
                struct process *p = &all[i];

                p->partition = (unsigned)(below(2) ? below(PARTITIONS) : 0);
                p->holds_for = 1 + below(1000);
                p->waits_for = below(4) ? 0 : 1 + below(100000);
                heap_add(p, below(PROCESSES * rush / 2));
        }
        while (heap_count > 0) {
                happens(heap[0], greed);
                if (below(200) == 0)
                        crash_one();
                if (below(100) == 0)
                        change_a_limit();
        }
        for (unsigned p = 0; p < PARTITIONS; p++)
                for (unsigned n = 0; n < nodes_count; n++)
                        partitions[p][n].max = ACCOUNT_NO_LIMIT;
        step(true);
        while (heap_count > 0)
                happens(heap[0], greed);
        assert_int_equal(line.count, 0);
        assert_int_equal(holding, 0);
        for (unsigned i = 0; i < PROCESSES; i++)
                assert_true(all[i].state == ENDED && (all[i].was_granted || all[i].gave_up));
        machine_end();
}

static void test_workloads(void **state) {
        unsigned long times = getenv("SVMD_LONG") || getenv("SVMD_ALL") ? 20 * WORKLOADS : WORKLOADS;

        for (unsigned long i = 0; i < times; i++)
                test_workload(i ? 10 + below(90) : 90, i ? 20 + below(300) : 40);
        printf("%lu workloads of %d processes: %lu granted, %lu gave up, %lu crashed, up to %lu in line, %lu let through "
               "because others had passed\n",
               times, PROCESSES, granted_count, called_off, crashed, most_waiting, old_ones);
        assert_true(granted_count > times * PROCESSES / 2 && called_off > 0 && crashed > 0 && most_waiting > 100);
        assert_true(old_ones > 0);
}

/* ---- fairness ---- */

enum { SHARERS = 4, GRANTS = 40000, LARGEST = 64 };

/* Of partition p 2^p processes ask all the time, and one at a time has the node. */
static void test_fair_at_any_moment(void **state) {
        uint64_t served[SHARERS] = { 0 }, most = 0;
        unsigned in_line[SHARERS] = { 0 }, next = 0;
        struct process *held = NULL;

        machine_new(1);
        nodes[0].max = LARGEST * 4096;
        for (unsigned p = 0; p < PARTITIONS; p++)
                partitions[p][0].max = ACCOUNT_NO_LIMIT;
        for (unsigned n = 0; n < GRANTS; n++) {
                struct list granted;

                for (unsigned p = 0; p < SHARERS; p++)
                        while (in_line[p] < 1u << p) {
                                struct process *x = &all[next++ % PROCESSES];

                                assert_true(x->state == COMES || x->state == ENDED);
                                x->partition = p;
                                x->needs[0] = (struct admission_need){ .account = &partitions[p][0],
                                                                       .bytes = (LARGEST / 2 + 1 + below(LARGEST / 2)) *
                                                                                4096 };
                                x->a = (struct admission){ .share = &shares[p], .needs = x->needs, .count = 1 };
                                admission_enter(&line, &x->a);
                                x->state = WAITS;
                                in_line[p]++;
                        }
                list_init(&granted);
                admission_step(&line, &granted);
                assert_true(granted.next != &granted && granted.next->next == &granted);
                held = container_of(container_of(granted.next, struct admission, by_line), struct process, a);
                list_remove(&held->a.by_line);
                assert_true(held->a.overtaken < ADMISSION_OVERTAKEN);
                served[held->partition] += held->needs[0].bytes / 4096;
                in_line[held->partition]--;
                charge_drop(&held->needs[0].charge);
                held->state = ENDED;
                for (unsigned p = 0; p < SHARERS; p++)
                        for (unsigned q = 0; q < SHARERS; q++)
                                if (served[p] > served[q] && served[p] - served[q] > most)
                                        most = served[p] - served[q];
                assert_true(most <= 2 * LARGEST);
        }
        printf("%d grants: partitions were never more than %llu pages apart; the largest request had %d\n", GRANTS,
               (unsigned long long)most, LARGEST);
        for (unsigned i = 0; i < PROCESSES; i++)
                if (all[i].state == WAITS)
                        admission_call_off(&line, &all[i].a);
        machine_end();
}

int main(void) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_workloads),
                cmocka_unit_test(test_fair_at_any_moment),
        };

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
