#pragma once

#include "patterns.h"

/* The touches of a recording (docs/trace.md), in order: faults of the CPU and uses by devices. Granules are numbered as
 * they come up. `memory` is left to the caller. -ENOMEM, -EBADMSG, or -errno of the file. */
int recording_read(struct trace *ret, const char *file);
