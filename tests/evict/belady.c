#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compare.h"

/*
 *     svmd-belady [--seed N] [--policy lru|clock] [--json] [RECORDING ...]
 *
 * What a node fetches, demand only, in granules: MIN, and LRU and svmd as multiples of it. Exit status 1 when a figure
 * is out of bounds. Without recordings: of the patterns, of two seeds: 1, and one of the clock's.
 */
static uint64_t away_lru(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return (uses - r->last) & ((1ull << 36) - 1);
}

/* One is like another: what the hand comes by. */
static uint64_t away_clock(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return 1;
}

static void show_json(const struct cell *c, const char *seed, const char *fault, bool first) {
        printf("%s\n{\"pattern\":\"%s\",\"percent\":%u,\"seed\":%s,\"min\":%" PRIu64 ",\"lru\":%" PRIu64
               ",\"svmd\":%" PRIu64 ",\"svmd_group\":%" PRIu64 ",\"svmd_faults\":%" PRIu64 ",\"lru_faults\":%" PRIu64
               ",\"ahead_demand\":%" PRIu64 ",\"ahead\":%" PRIu64 ",\"bound\":%.2f,\"ok\":%s}",
               first ? "[" : ",", c->name, c->percent, seed, c->min, c->lru, c->seen, c->group, c->faults,
               c->lru_of_faults, c->ahead.demanded, c->ahead.ahead, c->bound / 1000.0, fault ? "false" : "true");
}

static void show_text(const struct cell *c, const char *seed, const char *fault, bool first) {
        const char *name = strrchr(c->name, '/') ? strrchr(c->name, '/') + 1 : c->name;
        double min = (double)c->min;

        if (first)
                printf("%-12s %4s %-10s %8s %6s %6s %6s %6s %6s %8s + %s\n", "pattern", "", "seed", "min", "lru",
                       "svmd", "group", "lru-f", "faults", "demanded", "ahead");
        printf("%-12s %3u%% %-10s %8" PRIu64 " %6.3f %6.3f %6.3f %6.3f %6.3f %8.3f + %.3f  %s\n", name, c->percent,
               seed, c->min, (double)c->lru / min, (double)c->seen / min, (double)c->group / min,
               (double)c->lru_of_faults / min, (double)c->faults / min, (double)c->ahead.demanded / min,
               (double)c->ahead.ahead / min, fault ? fault : "");
}

struct table {
        void (*show)(const struct cell *c, const char *seed, const char *fault, bool first);
        away_fn *away;
        bool begun, out_of_bounds;
};

static int show(struct table *t, const struct cell *c, const char *seed, int k) {
        const char *fault = k ? NULL : compare_fault(c);

        if (k) {
                fprintf(stderr, "svmd-belady: %s\n", strerror(-k));
                return k;
        }
        t->show(c, seed, fault, !t->begun);
        t->begun = true;
        t->out_of_bounds |= fault != NULL;
        return 0;
}

static int patterns(struct table *t, uint64_t seed) {
        char text[32];
        int k = 0;

        snprintf(text, sizeof(text), "%" PRIu64, seed);
        for (uint32_t i = 0; !k && i < CELLS; i++) {
                struct cell c;

                k = compare_cell(&c, i, seed, true, t->away);
                k = show(t, &c, text, k);
        }
        return k;
}

static int recording(struct table *t, const char *file) {
        int k = 0;

        for (uint32_t i = 0; !k && i < SIZES; i++) {
                struct cell c;

                k = compare_recording(&c, i, file, t->away);
                k = show(t, &c, "0", k);
        }
        return k;
}

static int usage(void) {
        fprintf(stderr, "usage: svmd-belady [--seed N] [--policy lru|clock] [--json] [RECORDING ...]\n");
        return 2;
}

int main(int argc, char **argv) {
        uint64_t seed[2] = { 1, (uint64_t)time(NULL) };
        struct table t = { .show = show_text };
        unsigned seeds = 2;
        int at = 1, k = 0;

        for (; at < argc && argv[at][0] == '-'; at++) {
                bool more = at + 1 < argc;

                if (!strcmp(argv[at], "--json"))
                        t.show = show_json;
                else if (more && !strcmp(argv[at], "--seed")) {
                        seed[0] = strtoull(argv[++at], NULL, 0);
                        seeds = 1;
                } else if (more && !strcmp(argv[at], "--policy"))
                        t.away = !strcmp(argv[++at], "lru") ? away_lru : away_clock;
                else
                        return usage();
        }
        for (unsigned i = 0; !k && at == argc && i < seeds; i++)
                k = patterns(&t, seed[i]);
        for (; !k && at < argc; at++)
                k = recording(&t, argv[at]);
        if (t.show == show_json)
                printf("\n]\n");
        return k ? 2 : t.out_of_bounds;
}
