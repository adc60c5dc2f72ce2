#pragma once

#include <errno.h>

#include "service/internal.h"

struct partition_args;

/* Writes to the store run in a job, and the request goes on when they are on disk: the handler is called again, finds
 * request->store_done, and finishes. */

/* Makes a partition and starts writing it. OP_LATER, or refused. When the handler runs again it is up, or
 * request->store_done says that it failed. `defaults`: with the configured default limits. */
int make_partition(struct call *c, const struct partition_args *args, bool defaults);
/* Writes a row (owned from here on), or removes the name. OP_LATER, or -ENOMEM. */
int store_write(struct call *c, struct store_partition *row, const char *remove);

/* What such a job has in common: it goes behind what is to be written already, and the request goes on with its result.
 * OP_LATER. */
int store_job_begin(struct call *c, struct job *job, void (*run)(struct job *job), void (*done)(struct job *job));
void store_job_ended(struct service *svc, struct request *r, int result, const char *why);
