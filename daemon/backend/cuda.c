#include <errno.h>
#include <stdio.h>

#include "backend/backend.h"
#include "backend/kinds.h"
#include "base/alloc.h"
#include "core/grant.h"

/*
 * An NVIDIA device. What CUDA does it does in the process that calls it, so clients execute everything themselves, each
 * with a grant for what takes room; svmd neither links nor opens libcuda. It charges, holds the descriptors that CUDA
 * exports (memory lives as long as one of them does), and remembers what is mapped where: its spaces are those records
 * and nothing more, as the page tables are the clients'.
 */
#define GRANULE (2ull << 20)

struct device_space {
        unsigned unused;
};

static int cuda_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        *ret = NULL;
        return 0;
}

static void cuda_device_free(struct device *d) {
}

static uint64_t cuda_ops_done(const struct device *d) {
        return 0;
}

static int cuda_space_new(struct device *d, struct device_space **ret) {
        *ret = alloc_zero(sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

static void cuda_space_free(struct device_space *s) {
        alloc_free(s);
}

static bool cuda_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (!attrs->pat && !attrs->kind)
                return true;
        snprintf(why, why_size, "CUDA's mappings have neither pat nor kind");
        return false;
}

static int cuda_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
                    struct map_attrs attrs) {
        return 0;
}

static void cuda_unmap(struct device_space *s, uint64_t va, uint64_t size) {
}

static void cuda_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs) {
}

static void cuda_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                        struct imap_spare *spare) {
}

static void cuda_translate(struct device_space *s, uint64_t va, struct device_translation *ret) {
        *ret = (struct device_translation){ 0 };
}

static int cuda_submit(struct device_space *s, const struct device_op *op) {
        return -ENOMEM; /* none comes: clients launch their own */
}

const struct backend backend_cuda = {
        .kind = NODE_CUDA,
        .name = "cuda",
        .granularity = GRANULE,
        .has_spaces = true,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_ACCESS | GRANT_ADVISE | GRANT_PREFETCH |
                     GRANT_USERPTR | GRANT_SPACE | GRANT_IMPORT,
        .device_new = cuda_device_new,
        .device_free = cuda_device_free,
        .ops_done = cuda_ops_done,
        .space_new = cuda_space_new,
        .space_free = cuda_space_free,
        .attrs_ok = cuda_attrs_ok,
        .map = cuda_map,
        .unmap = cuda_unmap,
        .protect = cuda_protect,
        .sparse = cuda_sparse,
        .translate = cuda_translate,
        .submit = cuda_submit,
};
