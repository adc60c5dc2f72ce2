#pragma once

#include <stddef.h>

#include <svmd.h>

struct ctl;

struct drift_rows {
        struct ctl *c;
        struct svmd_drift_row *rows;
        size_t count, room;
};

/* A code of libsvmd. */
int drift_read(struct ctl *c, struct drift_rows *ret);
/* For the status, in one line. */
const char *drift_summary(struct ctl *c, const struct drift_rows *d);
