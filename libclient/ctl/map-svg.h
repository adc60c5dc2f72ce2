#pragma once

#include <stddef.h>

#include "map.h"

/* The whole of a map with where its managed memory is. */
struct map_svg {
        const struct map_partition *partitions; /* by domain and address */
        size_t count;
        /* Of partition i its reservation k: where it lies. Without rows it is not managed, or nobody would say. */
        const struct residency_rows *const *held;
        const struct node_rows *nodes;
        const char *title; /* a line below the heading; may be "" */
};

/* Writes an SVG document to c->out. */
void map_svg_draw(struct ctl *c, const struct map_svg *m);
/* `svmd-ctl map --svg FILE`: asks where everything lies, and draws. An exit status. */
int map_svg_run(struct ctl *c, const struct map_partition *partitions, size_t count, const char *path);
