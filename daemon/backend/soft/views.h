#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The managed ranges that a space sees, by address. They do not overlap. */
struct device_range;

struct soft_view {
        struct device_range *range;
        uint64_t start, end;
        bool write;
};

struct soft_views {
        struct soft_view *view;
        uint32_t count, room;
};

void views_fini(struct soft_views *v);
/* Adds a range, or changes its access. -ENOMEM. -EEXIST: another one is there. */
int views_set(struct soft_views *v, const struct soft_view *view);
/* One that is not there is no matter. */
void views_remove(struct soft_views *v, const struct device_range *range);
/* NULL: no range is there. Good until the next change. */
const struct soft_view *views_find(const struct soft_views *v, uint64_t va);
