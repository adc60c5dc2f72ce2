#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * A session joins a managed range: a worker of the mover registers the range in the session's process, and the request
 * waits for that.
 *
 *      join_begin -> asked -> the mover answers -> joins_collect: the request goes on -> join_free
 *                      |                                ^
 *                      +-- the reservation or the session ends: join_over; a late answer finds nothing
 */
struct call;
struct managed_client;
struct managed_member;
struct request;
struct service;
struct session;

struct join {
        struct list link; /* in managed_state.joins, then in .joined until the request goes on */
        struct request *request;
        struct managed_client *client;
        uint64_t number, reservation;
        int result;
        bool told; /* the request has told its outcome */
        char why[160];
};

/* OP_LATER; or OP_REFUSED, -ENOMEM and such. */
int join_begin(struct call *c, struct managed_member *member);
/* From within what the mover tells. */
void join_answer(struct service *svc, uint64_t number, int result, const char *why);
/* Nobody waits for the mover's answer any more. */
void join_over(struct service *svc, struct managed_member *member, const char *why);
void joins_over(struct service *svc, const struct session *s, const char *why);
void joins_collect(struct service *svc);
/* With the request: one that was not told is taken back. */
void join_free(struct service *svc, struct request *r);
