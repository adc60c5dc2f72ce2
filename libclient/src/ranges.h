#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Disjoint ranges of addresses, embedded in what they describe, in order. Nothing here allocates or fails. */
struct range {
        uint64_t start, end;
        struct range *left, *right;
        uint32_t weight;
};

struct ranges {
        struct range *root;
};

/* The lowest one that overlaps [start, end), or NULL. */
struct range *ranges_find(const struct ranges *t, uint64_t start, uint64_t end);
/* `r` overlaps none that is there. */
void ranges_insert(struct ranges *t, struct range *r);
/* `r` is there. */
void ranges_remove(struct ranges *t, struct range *r);

static inline bool ranges_empty(const struct ranges *t) {
        return !t->root;
}
