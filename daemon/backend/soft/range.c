#include "backend/soft/range.h"

#include <errno.h>

#include "base/alloc.h"

/* A translation needs what a page table is, and granules of all sizes are pages to it. Tables that were made stay until
 * the range goes. */
static uint64_t entry_of(uint32_t granule) {
        return granule * PAGETABLE_PAGE;
}

static bool args_ok(const struct device_range_args *args) {
        return args->granule > 0 && args->granule % PAGETABLE_PAGE == 0 && args->address % PAGETABLE_PAGE == 0 &&
               args->count > 0 && args->address < PAGETABLE_END &&
               args->count <= (PAGETABLE_END - args->address) / args->granule;
}

int soft_range_new(struct device *d, struct device_range **ret, const struct device_range_args *args) {
        struct device_range *r;

        if (!args_ok(args))
                return -EINVAL;
        r = alloc_zero(sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->range = args->range;
        r->faults = args->faults;
        r->node = args->node;
        r->granule = args->granule;
        r->count = args->count;
        r->address = args->address;
        r->end = args->address + (uint64_t)args->count * args->granule;
        pthread_mutex_init(&r->lock, NULL);
        *ret = r;
        return 0;
}

void soft_range_free(struct device_range *r) {
        if (!r)
                return;
        pagetable_fini(&r->table);
        pthread_mutex_destroy(&r->lock);
        alloc_free(r);
}

int soft_range_map(struct device_range *r, uint32_t granule, struct device_extent extent, bool write) {
        int e;

        if (granule >= r->count || extent.size != r->granule || extent.offset % PAGETABLE_PAGE)
                return -EINVAL;
        pthread_mutex_lock(&r->lock);
        e = pagetable_reserve(&r->table, entry_of(granule), PAGETABLE_PAGE);
        if (e == 0)
                pagetable_set(&r->table, entry_of(granule), PAGETABLE_PAGE, extent.slot, extent.offset,
                              (struct map_attrs){ .access = write ? 3 : 1 });
        pthread_mutex_unlock(&r->lock);
        return e;
}

int soft_range_invalidate(struct device_range *r, uint32_t granule) {
        pthread_mutex_lock(&r->lock);
        pagetable_clear(&r->table, entry_of(granule), PAGETABLE_PAGE);
        pthread_mutex_unlock(&r->lock);
        return 0;
}

bool range_look(struct device_range *r, uint32_t granule, struct pte *ret) {
        bool shown;

        pthread_mutex_lock(&r->lock);
        shown = pagetable_run(&r->table, entry_of(granule), 1, ret) > 0;
        pthread_mutex_unlock(&r->lock);
        return shown;
}
