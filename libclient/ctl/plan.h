#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <svmd.h>

struct ctl;
struct json_object;

/*
 * The steps by which a partition comes down to its limits, or out of existence, as svmd says them now. While it does,
 * there are fewer and fewer.
 */
struct plan {
        struct svmd_plan_row *rows;
        size_t count;
};

/* Who is asked for the steps: `ask` hands them to `fn`, and returns a code of libsvmd. */
struct plan_source {
        const char *name;
        int (*ask)(struct ctl *c, const void *what, svmd_plan_fn fn, void *userdata);
        const void *what;
};

/* A code of libsvmd. */
int plan_from(struct ctl *c, const struct plan_source *from, struct plan *ret);
/* `opts` NULL: for deleting it. A code of libsvmd. */
int plan_get(struct ctl *c, const char *partition, const struct svmd_partition_options *opts, struct plan *ret);
/* What has to leave, or would have to stay. */
uint64_t plan_bytes(const struct plan *p);
/* Sessions that would end. */
unsigned plan_steals(const struct plan *p);
/* A line a step; nothing for none. */
int plan_show(struct ctl *c, const struct plan *p);
/* The same for a person who is asked then: to where the question stands. */
int plan_tell(struct ctl *c, const struct plan *p);
struct json_object *plan_json(struct ctl *c, const struct plan *p);
/* Until there is nothing left, or it has stood still for a while after the deadline. A code of libsvmd; `ret` is what
 * is left. */
int plan_wait(struct ctl *c, const struct plan_source *from, uint64_t deadline_ms, struct plan *ret);
