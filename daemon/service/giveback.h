#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * A partition has more on a node than it may have, or than its high: it comes down, in steps.
 *
 *      asked ----its time is over----> taken: managed granules leave, explicit memory that may is spilled
 *        \                               \--nothing more leaves, and its limit was lowered by force--> sessions end,
 *         \                               \                                      the one with most there first
 *          \--less than that is used--> over <--/
 *
 * Asked are its sessions, those with most on the node first: each gets an event with its bytes and the time.
 */
struct account;
struct call;
struct partition;
struct service;

/* In struct service. */
struct give_backs {
        struct list active; /* struct give_back */
};

/* Makes room for them in the partition: 0 or -ENOMEM. */
int give_backs_make(struct service *svc, struct partition *p);
void give_backs_free(struct partition *p);

/* Its max on the node is about to become `max`; nothing where it has no more than that. */
void give_back_begin(struct service *svc, struct partition *p, uint32_t node, uint64_t max, uint64_t wait_ms,
                     bool steal);
/* What it has on the node, or may have, has changed. */
void give_back_changed(struct service *svc, struct partition *p, uint32_t node);
/* What bounds its managed granules while it comes down; `max` otherwise. */
uint64_t give_back_limit(const struct partition *p, uint32_t node, uint64_t max);
void give_backs_collect(struct service *svc);

/* Adds to the call's result the steps by which the partition comes down to `max` on the node. 0 or -ENOMEM. */
int give_back_plan(struct call *c, const struct partition *p, uint32_t node, uint64_t max);
