#include "backend/audited.h"
#include "backend/kinds.h"
#include "core/grant.h"

/*
 * A GPU of a DRM driver that svmd binds on. A page table belongs to an open file, and svmd has a duplicate of the
 * client's: bindings are svmd's, or where there are many a second the client's own; what takes the caller's address
 * space or makes memory is the client's.
 */
static bool drm_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        return true; /* by driver, when it is bound */
}

const struct backend backend_drm = {
        AUDITED,
        .device_new = audited_device_new,
        .device_free = audited_device_free,
        .kind = NODE_DRM,
        .name = "drm",
        .granularity = 4096,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_USERPTR | GRANT_SPACE,
        .brokered = GRANT_MAP | GRANT_UNMAP | GRANT_ADVISE | GRANT_PREFETCH | GRANT_IMPORT,
        .attrs_ok = drm_attrs_ok,
};
