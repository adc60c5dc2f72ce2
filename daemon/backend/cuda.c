#include <errno.h>
#include <stdio.h>

#include "backend/audited.h"
#include "backend/cuda_device.h"
#include "backend/kinds.h"
#include "base/alloc.h"
#include "core/grant.h"

/*
 * An NVIDIA device. What CUDA does it does in the process that calls it, so clients execute everything themselves, each
 * with a grant for what takes room; svmd neither links nor opens libcuda. It charges, and holds the descriptors that
 * CUDA exports (memory lives as long as one of them does).
 *
 * Managed pages lie in slots that svmd-cuda has there, where the node names one (cuda_slots.c); clients map them, and
 * are asked for them back (cuda_channel.c). The device has no faults and svmd no page table of it, so a range is shown
 * to processes, and to no space.
 */
#define GRANULE (2ull << 20)

static int device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        struct device *d;
        int k;

        if (!desc->managed)
                return audited_device_new(ret, desc, done, userdata);
        d = alloc_zero(sizeof(*d));
        if (!d)
                return -ENOMEM;
        snprintf(d->agent_path, sizeof(d->agent_path), "%s", desc->agent);
        snprintf(d->name, sizeof(d->name), "%s", desc->device);
        d->patience_ms = desc->agent_patience_ms;
        list_init(&d->channels);
        list_init(&d->ranges);
        k = cuda_slots_begin(d, desc->capacity);
        if (k) {
                alloc_free(d);
                return k;
        }
        pthread_mutex_init(&d->channels_lock, NULL);
        *ret = d;
        return 0;
}

static void device_free(struct device *d) {
        if (!d)
                return;
        cuda_slots_end(d);
        pthread_mutex_destroy(&d->channels_lock);
        alloc_free(d);
}

/* Clients map what they are given descriptors of. */
static int range_map(struct device_range *r, uint32_t granule, struct device_extent extent, bool write) {
        return -EINVAL;
}

const struct backend backend_cuda = {
        AUDITED,
        .device_new = device_new,
        .device_free = device_free,
        .range_new = cuda_range_new,
        .range_free = cuda_range_free,
        .range_map = range_map,
        .range_invalidate = cuda_range_invalidate,
        .slots = &cuda_device_slots,
        .kind = NODE_CUDA,
        .name = "cuda",
        .device = "cuda:",
        .example = "cuda:0",
        .granularity = GRANULE,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_ACCESS | GRANT_ADVISE | GRANT_PREFETCH |
                     GRANT_USERPTR | GRANT_SPACE | GRANT_IMPORT,
        .attrs_ok = audited_attrs_ok,
};
