#include <stdio.h>

#include "backend/backend.h"
#include "backend/kinds.h"
#include "core/grant.h"

/*
 * An NVIDIA device. What CUDA does it does in the process that calls it, so clients execute everything themselves, each
 * with a grant for what takes room; svmd neither links nor opens libcuda. It charges, and holds the descriptors that
 * CUDA exports: memory lives as long as one of them does.
 */
#define GRANULE (2ull << 20)

static int cuda_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        *ret = NULL;
        return 0;
}

static void cuda_device_free(struct device *d) {
}

static uint64_t cuda_ops_done(const struct device *d) {
        return 0;
}

static bool cuda_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        snprintf(why, why_size, "CUDA maps in the client's process, and svmd shows nothing there");
        return false;
}

const struct backend backend_cuda = {
        .kind = NODE_CUDA,
        .name = "cuda",
        .granularity = GRANULE,
        .has_spaces = false,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_ACCESS | GRANT_ADVISE | GRANT_PREFETCH |
                     GRANT_USERPTR | GRANT_SPACE | GRANT_IMPORT,
        .device_new = cuda_device_new,
        .device_free = cuda_device_free,
        .ops_done = cuda_ops_done,
        .attrs_ok = cuda_attrs_ok,
};
