#pragma once

#include <stdbool.h>

#include "rows.h"

struct json_object;

/* Tables that more than one verb shows. `one`: all rows are of one partition, which has no column then. svmd-ctl's
 * own session is left out. */
void show_sessions(struct ctl *c, const struct session_rows *sessions, bool one);
struct json_object *show_sessions_json(struct ctl *c, const struct session_rows *sessions);
void show_reservations(struct ctl *c, const struct reservation_rows *reservations, bool one);
struct json_object *show_reservations_json(struct ctl *c, const struct reservation_rows *reservations);
struct json_object *show_reservation_json(struct ctl *c, const struct svmd_reservation_row *r);
/* "explicit", "shared", or "revoked" */
const char *show_kind(const struct svmd_reservation_row *r);
/* A run of residency; its counters count only where a row is a granule. */
struct json_object *show_residency_json(struct ctl *c, const struct node_rows *nodes,
                                        const struct svmd_residency_row *row, bool counters);
