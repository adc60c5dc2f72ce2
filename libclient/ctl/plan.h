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
int plan_await(struct ctl *c, const char *partition, const struct svmd_partition_options *opts, struct plan *ret);
