#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/admission.h"
#include "service/spill.h"

/*
 * Leases: bytes on several nodes at once (core/lease.h), in one line for the whole machine. A lease has the number of a
 * fence too: who waits for one waits for that fence.
 *
 *      asked --room--> granted --memory is created out of it--> used up, or given back with its session
 *        \--none yet--> waits --its turn--> granted, told
 *                         \--its time is over--> expired: told, and forgotten
 */
struct call;
struct device_result;
struct effect_lease;
struct lease;
struct memory;
struct service;
struct session;

/* In struct service. */
struct leases {
        struct admission_line line;
        struct list ends;       /* lease.by_end, the first to end first */
        struct spill_wait room; /* of those that memory gives way for; in the queue while it does */
        uint64_t looked_ns;     /* when it was last looked whether any does */
        uint64_t failed_ns;     /* when nothing did that could have, or 0 */
        bool changed;           /* somebody's turn may have come, for another reason than what was given back */
        uint64_t refunds;       /* of all nodes, and of managed ranges, when that was looked at last */
};

void leases_init(struct service *svc);
/* NULL: no lease has that number. */
struct lease *lease_find(const struct service *svc, uint64_t id);
/* What is granted now is charged, journaled and told. */
void leases_step(struct service *svc);
/* Those whose time is over end. */
void leases_collect(struct service *svc);
/* It is given back, or called off; the caller journals it. */
void lease_end(struct service *svc, struct lease *l);
/* All of a session that ends. */
void leases_end(struct service *svc, struct session *s);
/* Into the line, right behind leases_step(); granted at once where it is its turn. True: granted. */
bool lease_begin(struct service *svc, struct lease *l);
/* A limit, a node's state or the like has changed. */
void leases_changed(struct service *svc);

/* Those that memory can give way for, whose turn it is, stand in the queue for that (lease_room.c). */
void leases_ask_room(struct service *svc);
/* There is memory that may give way. */
void leases_offered(struct service *svc);
/* Once: for the above. */
void leases_room_init(struct service *svc);

/* Memory that is being made out of it: takes the bytes out of the lease. 0, or a status with a sentence in `why`. */
unsigned lease_draw(struct service *svc, struct session *s, uint64_t id, uint32_t node, uint64_t bytes, char *why,
                    size_t why_size);
/* It was not made after all, and its charge was given back just now. No lease (0), or one that has ended: nothing. */
void lease_put_back(struct service *svc, uint64_t id, uint32_t node, uint64_t bytes);

/* What a FenceQuery of the lease's number is answered. False: not of this session. */
bool lease_answer(struct call *c, uint64_t id, struct device_result *ret, bool *ret_done);

/* In a replay; what is not as svmd writes it is -EBADMSG, with a sentence in `why`. */
int lease_replay(struct service *svc, uint16_t type, const void *bytes, size_t size, char *why, size_t why_size);
/* For a snapshot: EFFECT_LEASE with all that it needs, in `bytes` (room for LEASE_EFFECT_MAX). Returns its size. */
size_t lease_effect(const struct lease *l, void *bytes);
