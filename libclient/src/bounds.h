#pragma once

#include "proto/svmd.pb-c.h"
#include "svmd.h"

/* Limits as a request has them, of a partition, a session or a control group; and the plan that a dry run answers. */
struct limits {
        Svmd__V1__NodeLimit *body, **pointers;
};

/* 0 or SVMD_E_NO_MEMORY. */
int limits_take(struct limits *l, const struct svmd_limit *limits, size_t count);
void limits_free(struct limits *l);
Svmd__V1__Mode mode_of(int dry_run);
/* Sends the operation as a dry run, and hands over the steps. */
int plan_call(svmd_session *s, Svmd__V1__Op *op, svmd_plan_fn fn, void *userdata);
