#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Explicit memory of devices gives way: an object that nobody uses is spilled to a host node, whole, and comes back
 * before an operation that needs it is handed to its device.
 *
 *                   hidden, copied, journaled, its old place given up
 *      on its node ---------------------------------------------------> in a file of its own on a host node
 *                  <---------------------------------------------------
 *                   room is made, copied, shown, journaled
 *
 * In use is what a space maps whose device has operations of it. Pinned memory stays. What stands for the memory (its
 * number, handles, mappings) is not touched, so no request waits for it.
 */
struct account;
struct device_op;
struct device_result;
struct memory;
struct service;
struct space;

/* In struct service. */
struct spill_state {
        struct spill_node *nodes;
        struct list waits;    /* struct spill_wait, in the order in which they came */
        struct list moves;    /* under way */
        struct list settled;  /* the journal has to know of them before what they left is given up */
        uint64_t away;        /* objects that are */
        uint64_t pass, visit; /* memory that is wanted by who was visited since `pass` stays; by `visit`: is his */
};

/* Who waits for room of explicit memory. */
struct spill_wait {
        struct list link;
        uint32_t node;
        /* NULL: it waits for room of `node` */
        bool (*wants)(const struct service *svc, uint32_t node);
        /* Tries again. False: it waits on. True: it has unlinked itself and gone on, and may be freed. */
        bool (*go)(struct service *svc, struct spill_wait *w);
};

/* -ENOMEM */
int spill_init(struct service *svc);
void spill_fini(struct service *svc);

/* Memory is there, and may be spilled if it is of that kind. */
void spill_offer(struct service *svc, struct memory *m);
/* It could not be spilled. */
void spill_failed(struct service *svc, struct memory *m);
/* Memory is being freed; its creator goes. What a move holds is given back when the move ends. */
void spill_forget(struct service *svc, struct memory *m);
void spill_orphan(struct memory *m);

/* Whether memory of the node could give way, now or soon. */
bool spill_could_help(const struct service *svc, uint32_t node);
/* Somebody waits for room there already. */
bool spill_has_waiters(const struct service *svc, uint32_t node);
/* Its turn comes in spill_collect(). */
void spill_wait(struct service *svc, struct spill_wait *w);

/* From within go(): who waits before him waits for room of this node, so there is none for him. */
bool spill_is_taken(const struct service *svc, uint32_t node);
/* From within go(): nobody behind gets room of this node in this pass. */
void spill_take(struct service *svc, uint32_t node);
/* From within go(): `over`, one of those above `payer`, has no room for so many bytes on the node. */
enum spill_answer {
        SPILL_THERE,
        SPILL_WAIT,  /* room is being made */
        SPILL_LATER, /* what is in use now could give way when it is not */
        SPILL_NEVER, /* nothing else can give way */
};
enum spill_answer spill_room(struct service *svc, uint32_t node, const struct account *payer,
                             const struct account *over, uint64_t bytes);
/* What would become of that: SPILL_WAIT only where enough would give way. From anywhere. */
enum spill_answer spill_could(struct service *svc, uint32_t node, const struct account *payer,
                              const struct account *over, uint64_t bytes);

/* What is charged to `over` begins to leave the node, up to `bytes`. True: something is leaving. */
bool spill_lower(struct service *svc, uint32_t node, const struct account *over, uint64_t bytes);

/* Memory that the operation will use and that is away. */
bool spill_is_away(const struct service *svc, struct space *s, const struct device_op *op);
/* From within go(): brings it back. SPILL_WAIT; SPILL_NEVER: `ret` has why it cannot come; SPILL_THERE: it is. */
enum spill_answer spill_fetch(struct service *svc, struct space *s, const struct device_op *op,
                              struct device_result *ret);

/* Memory leaves the node because it is offline, and more may follow. */
bool spill_empties(struct service *svc, uint32_t node);
/* Whoever waits goes on, if he can; nodes that have to be emptied are. */
void spill_collect(struct service *svc);
/* The journal knows of every move that has ended: their old places are given up. */
void spill_commit(struct service *svc);
/* What the journal may not know of is settled all the same: nothing of it will be read. */
void spill_abandon(struct service *svc);
/* Nobody waits, and nothing moves. */
bool spill_idle(const struct service *svc);
/* svmd goes: nobody waits any longer. */
void spill_give_up(struct service *svc);
