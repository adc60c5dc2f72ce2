#pragma once

#include <stddef.h>
#include <stdint.h>

#include "rows.h"

struct args;
struct ctl;

/* A partition and what is reserved in it, for the picture. */
struct map_partition {
        const char *name, *domain;
        uint64_t base, length;
        struct reservation_rows reservations; /* in address order */
};

/* One partition in full: its bar, its reserved parts, and a legend. */
void map_draw_one(struct ctl *c, const struct map_partition *p, unsigned width);
/* A line a partition, and one of its reserved parts; runs of empty ones are one line. By domain and address. */
void map_draw_all(struct ctl *c, const struct map_partition *partitions, size_t count, unsigned width);
/* `svmd-ctl map RANGE`. */
int map_range_run(struct ctl *c, const struct args *a, unsigned width);
