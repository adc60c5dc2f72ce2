#pragma once

#include <stdint.h>

/*
 * In which order programs use the granules of their data, from a seed. `memory` is how many granules the node holds,
 * the data is `percent` of that; all of it begins elsewhere.
 */
enum pattern { PATTERN_STREAM, PATTERN_STENCIL, PATTERN_WEIGHTS, PATTERN_GRAPH, PATTERN_RANDOM, PATTERNS };

struct trace {
        uint32_t *use; /* granules, in order */
        uint32_t uses, size;
        uint32_t granules, memory;
};

const char *pattern_name(enum pattern p);
/* -ENOMEM */
int pattern_make(struct trace *ret, enum pattern p, uint32_t memory, uint32_t percent, uint64_t seed);
int trace_add(struct trace *t, uint32_t granule);
void trace_free(struct trace *t);
