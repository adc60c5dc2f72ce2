#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compare.h"

/*
 *     svmd-belady [--seed N] [--policy lru|clock] [--json]
 *
 * What a node fetches, demand only, in bytes of its granules: MIN, and LRU and svmd as multiples of it. Exit status 1
 * when a figure is out of bounds. Without a seed: 1, and one of the clock's, which is printed.
 */
static uint64_t away_lru(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return (uses - r->last) & ((1ull << 36) - 1);
}

/* One is like another: what the hand comes by. */
static uint64_t away_clock(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return 1;
}

static void show(const struct cell *c, uint64_t seed, bool json, bool first) {
        const char *fault = compare_fault(c);
        double bound = compare_bound(c->pattern) / 1000.0, min = (double)c->min;

        if (json)
                printf("%s\n{\"pattern\":\"%s\",\"percent\":%u,\"seed\":%" PRIu64 ",\"min\":%" PRIu64
                       ",\"lru\":%" PRIu64 ",\"svmd\":%" PRIu64 ",\"svmd_faults\":%" PRIu64 ",\"ahead_demand\":%" PRIu64
                       ",\"ahead\":%" PRIu64 ",\"bound\":%.2f,\"ok\":%s}",
                       first ? "[" : ",", pattern_name(c->pattern), c->percent, seed, c->min, c->lru, c->seen,
                       c->faults, c->ahead.demanded, c->ahead.ahead, bound, fault ? "false" : "true");
        else
                printf("%-8s %3u%% %8" PRIu64 " %6.3f %6.3f %6.3f %6.3f %8.3f + %.3f  %s\n", pattern_name(c->pattern),
                       c->percent, c->min, (double)c->lru / min, (double)c->seen / min, compare_ratio(c->seen, c->lru),
                       (double)c->faults / min, (double)c->ahead.demanded / min, (double)c->ahead.ahead / min,
                       fault ? fault : "");
}

static int table(uint64_t seed, bool json, bool *first, away_fn *away) {
        int worst = 0;

        if (!json)
                printf("seed %" PRIu64 "\n%-8s %4s %8s %6s %6s %6s %6s %8s + %s\n", seed, "pattern", "", "min", "lru",
                       "svmd", "of lru", "faults", "demanded", "ahead");
        for (uint32_t i = 0; i < CELLS; i++) {
                struct cell c;
                int k = compare_cell(&c, i, seed, true, away);

                if (k) {
                        fprintf(stderr, "svmd-belady: %s\n", strerror(-k));
                        return 2;
                }
                show(&c, seed, json, *first);
                *first = false;
                worst |= compare_fault(&c) != NULL;
        }
        return worst;
}

int main(int argc, char **argv) {
        uint64_t seed[2] = { 1, (uint64_t)time(NULL) };
        away_fn *away = NULL;
        bool json = false, first = true;
        unsigned seeds = 2;
        int k = 0;

        for (int i = 1; i < argc; i++) {
                if (!strcmp(argv[i], "--json"))
                        json = true;
                else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
                        seed[0] = strtoull(argv[++i], NULL, 0);
                        seeds = 1;
                } else if (!strcmp(argv[i], "--policy") && i + 1 < argc)
                        away = !strcmp(argv[++i], "lru") ? away_lru : away_clock;
                else {
                        fprintf(stderr, "usage: svmd-belady [--seed N] [--policy lru|clock] [--json]\n");
                        return 2;
                }
        }
        for (unsigned i = 0; i < seeds; i++)
                k |= table(seed[i], json, &first, away);
        if (json)
                printf("\n]\n");
        return k;
}
