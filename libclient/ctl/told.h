#pragma once

#include "svmd.h"

struct ctl;
struct json_object;

/* What drivers told of a device or a process. NULL: nothing. */
const char *told_text(struct ctl *c, const struct svmd_device_events *e);
struct json_object *told_json(const struct svmd_device_events *e);
