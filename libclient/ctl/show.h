#pragma once

#include "rows.h"

struct json_object;

/* Tables that more than one verb shows. */
void show_sessions(struct ctl *c, const struct session_rows *sessions);
struct json_object *show_sessions_json(struct ctl *c, const struct session_rows *sessions);
void show_reservations(struct ctl *c, const struct reservation_rows *reservations);
struct json_object *show_reservations_json(struct ctl *c, const struct reservation_rows *reservations);
