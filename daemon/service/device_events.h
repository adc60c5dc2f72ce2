#pragma once

#include "proto/svmd.pb-c.h"

/* What devices' drivers tell of nodes and processes, counted where it is shown. Node and session rows have it. */
struct call;
struct device_events;

/* NULL in `ret`: there is nothing to tell. -ENOMEM. */
int device_events_put(struct call *c, const struct device_events *e, Svmd__V1__DeviceEvents **ret);
