#pragma once

#include <stdint.h>

#include <svmd.h>

#include "plan.h"

struct args;
struct ctl;

/*
 * Limits that are set, and maybe below what is used: the plan first, then a question where sessions would have to end,
 * then the change, and then what became of it.
 *
 *      lower_plan() --> the verb changes the limits --> lower_done()
 */
struct lower {
        const char *what;        /* "partition train" */
        const char *key, *name;  /* in JSON */
        uint64_t number;         /* in JSON instead of the name, where that is NULL */
        struct plan_source from; /* where the plan comes from */
        int dry_run;
        unsigned come_down; /* as in options of libsvmd: lower_plan() fills them */
        uint64_t deadline_ms;
        struct plan plan, left;
};

/* An exit status. Without `limits` nothing comes down. */
int lower_plan(struct ctl *c, const struct args *a, struct lower *l, int limits);
int lower_done(struct ctl *c, struct lower *l);
