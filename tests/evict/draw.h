#pragma once

#include <stdint.h>

#include "patterns.h"

/* Numbers from a seed. */
struct draw {
        uint64_t state;
};

uint32_t draw_below(struct draw *d, uint32_t n);
uint32_t draw_between(struct draw *d, uint32_t low, uint32_t high);

/* graph.c: a program over a graph that takes up t->granules. -ENOMEM. */
int graph_run(struct trace *t, struct draw *d);
