#pragma once

#include <stddef.h>

#include <svmd.h>

struct ctl;
struct json_object;

struct drift_rows {
        struct ctl *c;
        struct svmd_drift_row *rows;
        size_t count, room;
};

/* A code of libsvmd. */
int drift_read(struct ctl *c, struct drift_rows *ret);
/* What the process has of devices without svmd, and what drivers count of it on all of them. */
int drift_read_process(struct ctl *c, uint32_t pid, struct drift_rows *ret, struct svmd_driver_counts *ret_counts);
/* As a table; `none` in the place of one without rows. */
void drift_show(struct ctl *c, const struct drift_rows *d, const char *none);
/* NULL: the driver counts nothing. */
struct json_object *drift_counts_json(const struct svmd_driver_counts *n);
const char *drift_counts_text(struct ctl *c, const struct svmd_driver_counts *n);
struct json_object *drift_json(const struct drift_rows *d);
/* For the status, in one line. */
const char *drift_summary(struct ctl *c, const struct drift_rows *d);
