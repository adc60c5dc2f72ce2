#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * What this process does itself with files of DRM devices that it gave, each under a grant of svmd's: by the same code
 * as svmd's own (backend/drm_bind.h), on its own descriptor.
 *
 *      memory -> grant (alloc), made by the file; the grant pays for it until it is freed
 */
struct drm; /* of a session that has given such a file */

/* The session has given that file. A code. */
int drm_gave(svmd_session *s, svmd_drm file, svmd_node node, int fd);
/* All of a session that ends. */
void drm_end(svmd_session *s);
