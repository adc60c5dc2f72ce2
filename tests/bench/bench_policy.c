#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "policy/policy.h"
#include "policy/reuse.h"

/*
 * What a decision costs: where a first touch goes, what a fault on what is elsewhere gets, what leaves and where to,
 * and what comes along; on a machine of eight nodes, two of them hosts, over granules and advice of all kinds. The row
 * is the dearest of the four. What leaves is chosen as the engine does it: when each of 40 granules will be used again,
 * every other time with nothing to stake against LRU, what advice says of eight of them, and where the first goes.
 */
enum { NODES = 8, HOSTS = 2, ROUNDS = 31, CASES = 4096, LOOKS = 40, ADVISED = 8, BYTES = 65536 };

static struct policy_node nodes[NODES];
static uint32_t bandwidth[NODES][NODES], distance[NODES][NODES];
static const struct policy_machine machine = { nodes, NODES };

static struct {
        struct policy_advice advice;
        struct policy_granule granule;
        struct policy_fault fault;
        uint64_t resident[1];
        uint64_t room[NODES];
        uint32_t accessor;
        enum policy_access access;
} cases[CASES];
static struct policy_reuse reuse[CASES + LOOKS];
static volatile uint64_t sink;

static void machine_init(void) {
        for (unsigned i = 0; i < NODES; i++) {
                for (unsigned k = 0; k < NODES; k++) {
                        bandwidth[i][k] = i == k ? 900000 : (i < HOSTS) == (k < HOSTS) ? 64000 : 16000;
                        distance[i][k] = i == k ? 10 : 10 + 10 * (i ^ k);
                }
                nodes[i] = (struct policy_node){ .host = i < HOSTS,
                                                 .faults = i >= HOSTS,
                                                 .online = true,
                                                 .capacity = 1ull << 36,
                                                 .used = 1ull << 35,
                                                 .hive = i < HOSTS ? 0 : 1 + i / 5,
                                                 .bandwidth = bandwidth[i],
                                                 .distance = distance[i] };
        }
}

static struct policy_advice advice_of(void) {
        struct policy_advice a = { 0 };

        if (random_below(2))
                return a;
        a.preferred = (uint32_t)random_below(NODES + 1);
        a.fallback[0] = (uint32_t)random_below(NODES + 1);
        a.accessed_by = random_below(1 << NODES);
        a.read_mostly = random_below(2);
        a.granularity = random_below(2) ? 0 : 65536u << random_below(6);
        return a;
}

static void cases_init(void) {
        for (unsigned i = 0; i < CASES; i++) {
                cases[i].advice = advice_of();
                cases[i].granule = (struct policy_granule){ .where = (uint32_t)random_below(NODES),
                                                            .bytes = BYTES,
                                                            .moved_ns = random_below(1u << 30),
                                                            .touched_ns = random_below(1u << 30) };
                cases[i].resident[0] = random_below(1ull << 32);
                cases[i].fault = (struct policy_fault){ .at = (uint32_t)random_below(1 << 20),
                                                        .count = 1 << 20,
                                                        .bytes = BYTES,
                                                        .resident = cases[i].resident };
                for (unsigned k = 0; k < NODES; k++)
                        cases[i].room[k] = random_below(3) ? random_below(1u << 30) : 0;
                cases[i].accessor = (uint32_t)random_below(NODES);
                cases[i].access = random_below(2) ? POLICY_READ : POLICY_WRITE;
        }
        for (unsigned i = 0; i < CASES + LOOKS; i++) {
                uint64_t uses = random_below(1000);

                for (unsigned k = random_below(4); k > 0; k--, uses += random_below(100000))
                        policy_used(&reuse[i], &uses);
        }
}

static void place(const struct policy_profile *p, unsigned i) {
        sink += policy_place(&machine, p, &cases[i].advice, cases[i].accessor, BYTES, cases[i].room);
}

static void promote(const struct policy_profile *p, unsigned i) {
        sink += policy_promote(&machine, p, &cases[i].advice, &cases[i].granule, cases[i].accessor, cases[i].access,
                               1ull << 31);
}

static void evict(const struct policy_profile *p, unsigned i) {
        const struct policy_haste haste = { .grace = 100 * 256, .held = i % 2 * 500000 };
        uint64_t most = 0, away[LOOKS];
        uint32_t to = 0;

        for (unsigned k = 0; k < LOOKS; k++)
                away[k] = policy_away(&reuse[i + k], &haste, 1 << 20);
        for (unsigned k = 0; k < ADVISED; k++) {
                uint64_t of = policy_spare(&cases[(i + k) % CASES].advice, 3, k == 0, away[k]);

                most = of > most ? of : most;
        }
        sink += most + away[LOOKS - 1];
        sink += policy_evict(&machine, p, &cases[i].advice, &cases[i].granule, 1ull << 31, cases[i].room, &to) + to;
}

static void prefetch(const struct policy_profile *p, unsigned i) {
        static struct policy_stream stream;
        uint32_t first, count;

        policy_prefetch(p, &cases[i].advice, &cases[i].fault, &stream, &first, &count);
        sink += first + count;
}

static double each_ns(void (*decide)(const struct policy_profile *p, unsigned i)) {
        const struct policy_profile *p = policy_profile_default();
        uint64_t start = now_ns();

        for (unsigned i = 0; i < CASES; i++)
                decide(p, i);
        return (double)(now_ns() - start) / CASES;
}

int main(void) {
        struct row dearest = { .name = "policy_decide", .unit = "ns" };

        pin_to(1);
        machine_init();
        cases_init();
        for (int round = 0; round < ROUNDS; round++) {
                const double each[] = { each_ns(place), each_ns(promote), each_ns(evict), each_ns(prefetch) };
                double most = 0;

                for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++)
                        most = each[i] > most ? each[i] : most;
                row_add(&dearest, most, 0);
                if (getenv("BENCH_EACH"))
                        for (unsigned i = 0; i < 4; i++)
                                fprintf(stderr, "%.1f%c", each[i], i < 3 ? ' ' : '\n');
        }
        row_print(&dearest);
        return 0;
}
