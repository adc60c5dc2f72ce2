#pragma once

#include <stdint.h>

/*
 * How long something took, counted: bucket i has what took up to 1.024 us times 2^i, the last one whatever took longer
 * than 17 s. So a quantile is known to a factor of two, an observation is a few instructions, and a histogram has no
 * pointers. Whoever owns it sees to it that only one thread uses it at a time.
 */
enum { HISTOGRAM_FIRST_NS = 1024, HISTOGRAM_BUCKETS = 26 };

struct histogram {
        uint64_t count, sum_ns;
        uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t ns) {
        unsigned i = ns <= HISTOGRAM_FIRST_NS ? 0 : 64u - (unsigned)__builtin_clzll((ns - 1) / HISTOGRAM_FIRST_NS);

        return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t ns) {
        h->count++;
        h->sum_ns += ns;
        h->buckets[histogram_bucket(ns)]++;
}
