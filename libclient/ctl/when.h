#pragma once

#include <stdint.h>

enum {
        _WHEN_E_OK,
        WHEN_E_TEXT,  /* none of the forms */
        WHEN_E_RANGE, /* no such day or time, or before 1970 */
};

/* A point in time, as people say it: "90s", "15m", "1h", "7d", "2w" before `now`; "now", "today", "yesterday";
 * "2026-11-01", "2026-11-01 14:30", "2026-11-01T14:30:05", of the local time zone; "@1700000000". Seconds since 1970.
 */
int when_parse(const char *text, uint64_t now, uint64_t *ret);
/* What to tell the person. */
const char *when_problem(int outcome);
