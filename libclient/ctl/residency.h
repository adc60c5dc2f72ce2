#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rows.h"

struct ctl;

/* What rows of residency add up to. */
struct residency_sum {
        svmd_node node; /* SVMD_NODE_NONE: held by none, zero */
        uint64_t bytes;
        uint64_t pinned, busy; /* part of `bytes` */
        uint64_t copies;       /* to read, beside what is held */
};
struct residency_sums {
        const struct residency_sum *sums; /* by node; "none" comes last */
        size_t count;
};
/* Of nodes that hold something or have copies. */
struct residency_sums residency_sums(struct ctl *c, const struct residency_rows *rows);

/* Bytes that have come to the node: what is on its way there is shown under it, too, but does not count. */
uint64_t residency_on(const struct residency_rows *rows, svmd_node node);
/* Bytes that some node holds. */
uint64_t residency_held(const struct residency_rows *rows);
/* Bytes that another node holds than did before, or none, and that are not on their way; both are about the same
 * range. */
uint64_t residency_moved(const struct residency_rows *before, const struct residency_rows *now);

/* One cell of a picture: the node that holds most of what is held of it (the first of several), and whether it holds
 * less than all. */
struct residency_cell {
        svmd_node node;
        bool mixed;
};
/* Fills `count` cells of `bytes` each, the first from `address` on. */
void residency_cells(struct ctl *c, struct residency_cell *cells, size_t count, uint64_t address, uint64_t bytes,
                     const struct residency_rows *rows, const struct residency_sums *sums);
