#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Work that takes its time (taking pages from the machine and giving them back, writing the store), off the loop's
 * thread. Jobs of one lane run one after the other in the order in which they were submitted; lanes run side by side on
 * a few threads. A lane is what must not be reordered: the pool of a node, the store.
 */
struct jobs;

struct job {
        struct list link;
        uint32_t lane;
        void (*run)(struct job *j);  /* on a worker; touches only what the job owns */
        void (*done)(struct job *j); /* on the loop's thread; may free the job */
};

/* `wake` is called from workers when there is something to collect. -ENOMEM, -EAGAIN. */
int jobs_new(struct jobs **ret, unsigned threads, uint32_t lanes, void (*wake)(void *userdata), void *userdata);
/* Runs what is queued to its end, collects it, and ends the threads. */
void jobs_free(struct jobs *j);
/* Cannot fail. */
void jobs_submit(struct jobs *j, struct job *job);
/* Calls `done` of what has run. */
void jobs_collect(struct jobs *j);
/* Nothing queued or running in the lane. */
bool jobs_lane_idle(struct jobs *j, uint32_t lane);
/* Blocks until the lane is idle. */
void jobs_wait_lane(struct jobs *j, uint32_t lane);
/* Nothing queued, running or to be collected anywhere. */
bool jobs_idle(struct jobs *j);
