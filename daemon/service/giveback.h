#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "service/limited.h"

/*
 * A partition, a session or a control group has more on a node than it may have, or than its high: it comes down, in
 * steps.
 *
 *      asked ----its time is over----> taken: managed granules leave, explicit memory that may is spilled
 *        \                               \--nothing more leaves, and its limit was lowered by force--> sessions end,
 *         \                               \                                      the one with most there first
 *          \--less than that is used--> over <--/
 *
 * Asked are its sessions, those with most on the node first: each gets an event with its bytes and the time.
 */
struct call;
struct partition;
struct service;

/* In struct service. */
struct give_backs {
        struct list active;  /* struct give_back */
        struct list watched; /* those of sessions and control groups that have a high there */
};

/* Makes room for them there: 0 or -ENOMEM. */
int give_backs_make(struct service *svc, struct limited of);
void give_backs_free(struct limited of);

/* Its max on the node is about to become `max`; nothing where it has no more than that. */
void give_back_begin(struct service *svc, struct limited of, uint32_t node, uint64_t max, uint64_t wait_ms, bool steal);
/* Its bounds there have changed. Not for a partition. Whom managed pages count for capacity_changed() tells. */
void give_back_bounds(struct service *svc, struct limited of, uint32_t node);
/* What the partition and those in it have on the node, or may have, has changed. */
void give_back_changed(struct service *svc, struct partition *p, uint32_t node);
/* What bounds its managed granules while it comes down; `max` otherwise. */
uint64_t give_back_limit(struct limited of, uint32_t node, uint64_t max);
void give_backs_collect(struct service *svc);

/* Adds to the call's result the steps by which it comes down to `max` on the node. 0 or -ENOMEM. */
int give_back_plan(struct call *c, struct limited of, uint32_t node, uint64_t max);
/* Bytes of explicit memory that may be moved off the node: of the session, or with NULL of those of the partition that
 * have ended. */
uint64_t spillable(const struct service *svc, struct limited of, uint32_t node, const struct session *s);
