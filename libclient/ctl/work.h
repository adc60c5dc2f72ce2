#pragma once

#include <stdint.h>

#include <svmd.h>

struct args;
struct ctl;

/*
 * Waiting for a fence with a person in view. From the first half second on, while a terminal is there to watch, one
 * line is written over and over that says how far the work is; it is gone when the work is done.
 */
struct work {
        svmd_fence *fence;    /* freed; NULL: there is nothing to wait for */
        uint64_t deadline_ns; /* UINT64_MAX: none */
        /* A line about what svmd says now, or NULL. What it allocates lives till the next one. */
        const char *(*how_far)(struct ctl *c, void *userdata);
        void *userdata;
};

/* The deadline that --timeout asks for. Returns an exit status; what is wrong was written. */
int work_deadline(struct ctl *c, const struct args *a, uint64_t *ret_ns);
/* The fence's own code, or SVMD_E_TIMEOUT when the deadline has passed; `ret_why` is the sentence of a failure. */
int work_wait(struct ctl *c, const struct work *w, const char **ret_why);
/* The exit status of such a code. The sentence of a failure is written. */
int work_result(struct ctl *c, int code, const char *why);
