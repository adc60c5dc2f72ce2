#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes on nodes by key, of which the largest are shown and the others are one, "other": so a machine with many
 * containers has no more time series than was said. Who is large now may be part of "other" at the next look.
 */
enum { FOLD_KEYS = 6 };

struct fold_row {
        const char *key[FOLD_KEYS];
        uint64_t *bytes; /* one a node */
        uint64_t sum, beside;
};

struct fold {
        size_t nodes; /* how many there are */
        void *tree;
        struct fold_row *rows;
        size_t count;
        size_t folded; /* rows that "other" stands for */
};

void fold_init(struct fold *f, size_t nodes);
/* Adds what the key has on the node, or (`node` beyond those there are) beside all. Keys are copied; NULL is "". */
void fold_add(struct fold *f, const char *const key[FOLD_KEYS], size_t node, uint64_t bytes);
/* Sorts, largest first, and makes one row of those behind the first `most`. Nothing is added any more. */
void fold_close(struct fold *f, size_t most);
void fold_free(struct fold *f);
