#pragma once

#include <stdbool.h>

#include "residency.h"
#include "target.h"

/* What lies in a range, and where: one part a reservation, in address order. */
struct map_part {
        struct target target;
        struct residency_rows rows; /* none for explicit reservations */
};
struct map_range {
        const struct map_part *parts;
        size_t count;
        struct node_rows nodes;
        bool counters; /* a row is a granule */
};

/* Each part as rows of cells, one legend for all, and with `counters` a table of granules. */
void map_range_draw(struct ctl *c, const struct map_range *m, unsigned width);
