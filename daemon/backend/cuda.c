#include "backend/audited.h"
#include "backend/kinds.h"
#include "core/grant.h"

/*
 * An NVIDIA device. What CUDA does it does in the process that calls it, so clients execute everything themselves, each
 * with a grant for what takes room; svmd neither links nor opens libcuda. It charges, and holds the descriptors that
 * CUDA exports (memory lives as long as one of them does).
 */
#define GRANULE (2ull << 20)

const struct backend backend_cuda = {
        AUDITED,
        .kind = NODE_CUDA,
        .name = "cuda",
        .device = "cuda:",
        .example = "cuda:0",
        .granularity = GRANULE,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_ACCESS | GRANT_ADVISE | GRANT_PREFETCH |
                     GRANT_USERPTR | GRANT_SPACE | GRANT_IMPORT,
        .attrs_ok = audited_attrs_ok,
};
