#include "compare.h"
#include "oracle.h"

uint32_t compare_bound(enum pattern p) {
        static const uint32_t bounds[PATTERNS] = {
                [PATTERN_STREAM] = 1050, [PATTERN_STENCIL] = 1300, [PATTERN_WEIGHTS] = 1500, [PATTERN_GRAPH] = 1600
        };

        return bounds[p];
}

double compare_ratio(uint64_t a, uint64_t b) {
        return b ? (double)a / (double)b : a ? 1e9 : 1;
}

static int run(struct cell *c, const struct trace *t, bool all, away_fn *away) {
        struct ours how = { .memory = MEMORY, .away = away };
        struct fetched seen, faults = { 0 };
        int k = oracle_min(t, MEMORY, &c->min);

        k = k ? k : oracle_lru(t, MEMORY, &c->lru);
        k = k ? k : ours_run(&seen, &how, t);
        how.faults = true;
        if (all)
                k = k ? k : ours_run(&faults, &how, t);
        how.faults = false;
        how.ahead = true;
        if (all)
                k = k ? k : ours_run(&c->ahead, &how, t);
        if (k)
                return k;
        c->seen = seen.demanded;
        c->faults = faults.demanded;
        return 0;
}

int compare_cell(struct cell *ret, uint32_t i, uint64_t seed, bool all, away_fn *away) {
        static const uint32_t percents[SIZES] = { 75, 100, 125, 200 };
        struct cell c = { .pattern = (enum pattern)(i / SIZES), .percent = percents[i % SIZES] };
        struct trace t;
        int k = pattern_make(&t, c.pattern, MEMORY, c.percent, seed);

        if (k)
                return k;
        k = run(&c, &t, all, away);
        trace_free(&t);
        if (!k)
                *ret = c;
        return k;
}

const char *compare_fault(const struct cell *c) {
        uint32_t bound = compare_bound(c->pattern);

        if (c->seen < c->min || c->lru < c->min)
                return "less was fetched than any policy can";
        if (c->percent <= 100 && c->seen != c->min)
                return "something left though all of it fits";
        if (bound && c->seen * 1000 > c->min * bound)
                return "too far from MIN";
        if (c->seen * 100 > c->lru * 102)
                return "worse than LRU";
        if (c->faults * 100 > c->lru * 102)
                return "worse than LRU, with faults alone";
        return NULL;
}
