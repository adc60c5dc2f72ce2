#include "backend/audited.h"
#include "backend/kinds.h"
#include "core/grant.h"

/*
 * A GPU of AMD's compute driver. A file of /dev/kfd is of the process that opened it, and the driver refuses any other:
 * so clients execute everything. Access is part of a buffer, from the call that makes it on, and is not changed.
 */
const struct backend backend_kfd = {
        AUDITED,
        .device_new = audited_device_new,
        .device_free = audited_device_free,
        .kind = NODE_KFD,
        .name = "kfd",
        .granularity = 4096,
        .delegated = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP | GRANT_ADVISE | GRANT_PREFETCH | GRANT_USERPTR |
                     GRANT_SPACE | GRANT_IMPORT | GRANT_MODE,
        .attrs_ok = audited_attrs_ok,
};
