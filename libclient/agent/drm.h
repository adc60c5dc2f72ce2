#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * What this process does itself with files of DRM devices that it gave, each under a grant of svmd's: by the same code
 * as svmd's own (backend/drm_bind.h), on its own descriptor.
 *
 *      memory -> grant (alloc), made by the file; the grant pays for it until it is freed
 *      leave  -> grant (map, unmap) for a range: vectors there are bound without a message, and svmd is told of up to
 *                1,024 bindings at once, at the latest when the leave is ended, which acknowledges the grant
 */
struct drm; /* of a session that has given such a file */

/* The session has given that file. A code. */
int drm_gave(svmd_session *s, svmd_drm file, svmd_node node, int fd);
/* Whether svmd_drm_bind() of that address is this process's own, by a leave. */
bool drm_is_left(svmd_session *s, svmd_drm file, uint32_t space, uint64_t address);
/* Of 1 to SVMD_OPS_MAX, all of it there; as svmd_drm_bind() with its end. */
int drm_bind_left(svmd_session *s, svmd_drm file, uint32_t space, const struct svmd_drm_binding *list, size_t count);
/* Before svmd looks at a page table: it hears of all. With `last` leaves there end. A code. */
int drm_tell_left(svmd_session *s, svmd_drm file, uint32_t space, bool last);
/* All of a session that ends. */
void drm_end(svmd_session *s);
