#include <errno.h>
#include <stdlib.h>

#include "draw.h"

/*
 * stream     up to three arrays walked in lockstep, pass after pass
 * stencil    sweeps over a grid: three rows of one array are read, a row of the other written; then they change roles
 * weights    tokens of a model: a layer's weights, then all of its cache of keys and values, which grows
 * graph      sweeps over all edges and breadth-first searches, in a graph with a power law (graph.c)
 * random     any, each as likely
 */
static uint64_t draw(struct draw *d) {
        d->state ^= d->state << 13;
        d->state ^= d->state >> 7;
        d->state ^= d->state << 17;
        return d->state * 0x2545f4914f6cdd1dull >> 32;
}

uint32_t draw_below(struct draw *d, uint32_t n) {
        return (uint32_t)(draw(d) * n >> 32);
}

uint32_t draw_between(struct draw *d, uint32_t low, uint32_t high) {
        return low + draw_below(d, high - low + 1);
}

const char *pattern_name(enum pattern p) {
        static const char *const names[PATTERNS] = { "stream", "stencil", "weights", "graph", "random" };

        return names[p];
}

int trace_add(struct trace *t, uint32_t granule) {
        if (t->uses == t->size) {
                uint32_t size = t->size ? 2 * t->size : 4096;
                uint32_t *grown = realloc(t->use, size * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                t->use = grown;
                t->size = size;
        }
        t->use[t->uses++] = granule;
        return 0;
}

void trace_free(struct trace *t) {
        free(t->use);
        *t = (struct trace){ 0 };
}

static int add_all(struct trace *t, uint32_t first, uint32_t count) {
        int k = 0;

        for (uint32_t i = 0; !k && i < count; i++)
                k = trace_add(t, first + i);
        return k;
}

static int stream(struct trace *t, struct draw *d) {
        uint32_t arrays = draw_between(d, 1, 3), passes = draw_between(d, 12, 20), length = t->granules / arrays;
        int k = 0;

        for (uint32_t pass = 0; pass < passes; pass++)
                for (uint32_t i = 0; i < length; i++)
                        for (uint32_t a = 0; !k && a < arrays; a++)
                                k = trace_add(t, a * length + i);
        return k;
}

static int stencil(struct trace *t, struct draw *d) {
        uint32_t row = draw_between(d, 1, 8), rows = t->granules / 2 / row, sweeps = draw_between(d, 12, 20);
        int k = 0;

        for (uint32_t sweep = 0; sweep < sweeps; sweep++) {
                uint32_t from = sweep % 2 * rows * row, to = (sweep + 1) % 2 * rows * row;

                for (uint32_t i = 1; !k && i + 1 < rows; i++)
                        for (uint32_t j = 0; !k && j < row; j++) {
                                for (uint32_t of = i - 1; !k && of <= i + 1; of++)
                                        k = trace_add(t, from + of * row + j);
                                k = k ? k : trace_add(t, to + i * row + j);
                        }
        }
        return k;
}

static int weights(struct trace *t, struct draw *d) {
        uint32_t layers = draw_between(d, 4, 12), tokens = draw_between(d, 40, 64), share = draw_between(d, 15, 35);
        uint32_t cache = t->granules * share / 100 / layers, layer = t->granules / layers - cache;
        int k = 0;

        for (uint32_t token = 1; token <= tokens; token++)
                for (uint32_t l = 0; !k && l < layers; l++) {
                        k = add_all(t, l * (layer + cache), layer);
                        k = k ? k : add_all(t, l * (layer + cache) + layer, (cache * token + tokens - 1) / tokens);
                }
        return k;
}

/* So many that two policies that are equally good fetch equally much, to less than a hundredth. */
static int uniform(struct trace *t, struct draw *d) {
        uint32_t uses = t->granules > t->memory ? 1000 * t->memory : 20 * t->memory;
        int k = 0;

        for (uint32_t i = 0; !k && i < uses; i++)
                k = trace_add(t, draw_below(d, t->granules));
        return k;
}

int pattern_make(struct trace *ret, enum pattern p, uint32_t memory, uint32_t percent, uint64_t seed) {
        static int (*const make[PATTERNS])(struct trace * t, struct draw * d) = { stream, stencil, weights, graph_run,
                                                                                  uniform };
        struct trace t = { .granules = (uint32_t)((uint64_t)memory * percent / 100), .memory = memory };
        struct draw d = { (seed + p + 1) * 0x9e3779b97f4a7c15ull | 1 };
        int k;

        for (unsigned i = 0; i < 8; i++)
                draw(&d);
        k = make[p](&t, &d);
        if (k)
                trace_free(&t);
        else
                *ret = t;
        return k;
}
