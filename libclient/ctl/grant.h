#pragma once

#include "rows.h"

struct ctl;
struct json_object;

/* Leave that processes have to execute what only they can: all, or (not 0) those of one session. */
void show_grants(struct ctl *c, const struct grant_rows *grants, const struct node_rows *nodes, uint64_t session);
struct json_object *show_grants_json(struct ctl *c, const struct grant_rows *grants, const struct node_rows *nodes,
                                     uint64_t session);
