#pragma once

#include "patterns.h"

/*
 * What a node of `memory` granules fetches in the course of a trace, in granules, when it takes what is used and lets
 * go of one when it is full: the one whose next use is farthest away (no policy fetches less), or the one whose last
 * use is. -ENOMEM.
 */
int oracle_min(const struct trace *t, uint32_t memory, uint64_t *ret);
int oracle_lru(const struct trace *t, uint32_t memory, uint64_t *ret);
/* LRU that knows of uses no more than that they faulted: what came first goes first. */
int oracle_lru_of_faults(const struct trace *t, uint32_t memory, uint64_t *ret);
