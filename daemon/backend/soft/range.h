#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/soft/pagetable.h"

/*
 * A managed range as one device sees it: its translation, with an entry a granule. It grows with what was ever shown
 * and is changed and read in any thread; its lock is taken last, and nothing is called under it.
 */
struct device_range {
        void *range;
        const struct device_faults *faults;
        uint32_t node, granule, count;
        uint64_t address, end;

        pthread_mutex_t lock;
        struct pagetable table; /* granule n is the page n */
};

int soft_range_new(struct device *d, struct device_range **ret, const struct device_range_args *args);
void soft_range_free(struct device_range *r);
int soft_range_map(struct device_range *r, uint32_t granule, struct device_extent extent, bool write);
int soft_range_invalidate(struct device_range *r, uint32_t granule);

/* What it shows of a granule; false: nothing. */
bool range_look(struct device_range *r, uint32_t granule, struct pte *ret);
