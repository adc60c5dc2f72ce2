#pragma once

#include <stdint.h>

#include "service/told.h"

/*
 * Control groups of sessions that have as much host memory as the kernel lets them have, or of which it has ended
 * processes for that. They are bounded by the kernel, not by svmd; here it is told, by name, when that begins and ends,
 * and `svmd-ctl doctor` has a line while it lasts. Looked at together with drift (drifting.h).
 */
struct drift;
struct service;

enum { FULL_ROWS = 64 };

struct full_row {
        struct told told; /* of the group */
        char container[168];
        uint64_t limit, killed;
};

struct full {
        struct full_row rows[FULL_ROWS];
};

void full_verdict(struct service *svc, const struct drift *d);
/* Its container if it has one, and its path. */
const char *full_name(const struct full_row *r, char *to, unsigned room);
