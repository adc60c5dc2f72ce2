#include "compare.h"
#include "oracle.h"
#include "recording.h"

static const uint32_t percents[SIZES] = { 75, 100, 125, 200 };

static int run_all(struct cell *c, const struct trace *t, struct ours *how) {
        struct fetched faults, group;
        int k;

        how->faults = true;
        k = ours_run(&faults, how, t);
        how->faults = false;
        how->group = true;
        k = k ? k : ours_run(&group, how, t);
        how->group = false;
        how->ahead = true;
        k = k ? k : ours_run(&c->ahead, how, t);
        if (k)
                return k;
        c->faults = faults.demanded;
        c->group = group.demanded;
        return 0;
}

static int run(struct cell *c, const struct trace *t, bool all, away_fn *away) {
        struct ours how = { .memory = t->memory, .away = away };
        struct fetched seen;
        int k = oracle_min(t, t->memory, &c->min);

        k = k ? k : oracle_lru(t, t->memory, &c->lru);
        k = k ? k : oracle_lru_of_faults(t, t->memory, &c->lru_of_faults);
        k = k ? k : ours_run(&seen, &how, t);
        if (!k && all)
                k = run_all(c, t, &how);
        if (!k)
                c->seen = seen.demanded;
        return k;
}

int compare_cell(struct cell *ret, uint32_t i, uint64_t seed, bool all, away_fn *away) {
        static const uint32_t bounds[PATTERNS] = {
                [PATTERN_STREAM] = 1050, [PATTERN_STENCIL] = 1300, [PATTERN_WEIGHTS] = 1500, [PATTERN_GRAPH] = 1600
        };
        enum pattern p = (enum pattern)(i / SIZES);
        struct cell c = {
                .name = pattern_name(p), .pattern = true, .percent = percents[i % SIZES], .bound = bounds[p]
        };
        struct trace t;
        int k = pattern_make(&t, p, MEMORY, c.percent, seed);

        if (k)
                return k;
        k = run(&c, &t, all, away);
        trace_free(&t);
        if (!k)
                *ret = c;
        return k;
}

int compare_recording(struct cell *ret, uint32_t i, const char *file, away_fn *away) {
        struct cell c = { .name = file, .percent = percents[i] };
        struct trace t;
        int k = recording_read(&t, file);

        if (k)
                return k;
        t.memory = (t.granules * 100 + c.percent - 1) / c.percent;
        k = run(&c, &t, true, away);
        trace_free(&t);
        if (!k)
                *ret = c;
        return k;
}

static bool passes(uint64_t figure, uint64_t of, uint64_t thousandths) {
        return of && figure * 1000 > of * thousandths;
}

const char *compare_fault(const struct cell *c) {
        if (c->seen < c->min || c->lru < c->min)
                return "less was fetched than any policy can";
        if (c->percent <= 100 && c->seen != c->min)
                return "something left though all of it fits";
        if (c->bound && (passes(c->seen, c->min, c->bound) || passes(c->group, c->min, c->bound)))
                return "too far from MIN";
        if (passes(c->seen, c->lru, 1020) || passes(c->group, c->lru, 1020))
                return "worse than LRU";
        if (c->pattern && passes(c->faults, c->lru_of_faults, 1020))
                return "worse than LRU that sees faults alone";
        return NULL;
}
