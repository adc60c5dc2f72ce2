#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "mover/mover.h"
#include "service/pages.h"

/*
 * Managed reservations: what the service keeps beside core's objects.
 *
 *      partition --managed--> managed_share: the mover's group, and the sum of sizes
 *      reservation --managed--> managed_reservation: the mover's range
 *                                  |
 *                                  +-- managed_member: the owner, and each session that has it open
 *                                  |
 *      session --managed--> managed_client: its userfaultfd, the mover's session
 *
 * A member sees the range in all its session's spaces from the beginning; its process may touch the range once it has
 * joined. A range that has ended is nobody's, but its addresses stay taken until the mover says that nothing of it is
 * under way: it is in `ending` then, and no lookup finds it.
 */
struct call;
struct hints;
struct partition;
struct reservation;
struct request;
struct service;
struct session;
struct space;

enum { RANGE_FDS = 2 }; /* its memory and its state */

struct managed_reservation {
        struct reservation *reservation;
        struct mover_range *range; /* NULL once it has ended; never in an operation */
        struct hints *hints;       /* what is advised */
        uint32_t granule, count;   /* granule: bytes */
        unsigned flags;            /* of the wire: RangeFlag */
        struct peer *payer;        /* the party whose descriptors its files are, or NULL */
        bool revoked;
        uint64_t changing;   /* fence of the revoke or steal that is under way, or 0 */
        struct list members; /* managed_member.by_reservation */
        struct list link;    /* in managed_state.ranges or .ending */
        struct list adopted; /* in managed_client.adopted: see adopted.h */
        struct list taking;  /* in managed_state.taking, while its pages are looked at: see pages.h */
        uint32_t taken;      /* granules that were */
};

struct managed_member {
        struct managed_reservation *managed;
        struct managed_client *client;
        struct list by_reservation, by_client;
        bool readonly;
        bool joining;   /* the mover was asked, and has not answered: there is a struct join */
        bool joined;    /* the session's process may touch it */
        uint16_t *pins; /* of each granule, how often this session has pinned it; NULL: never any */
};

struct managed_client {
        struct session *session;
        struct mover_session *mover; /* NULL: no userfaultfd was given */
        struct list members;         /* managed_member.by_client */
        struct list adopted;         /* managed_reservation.adopted, those that are ending too */
        struct list channels;        /* cuda_attached: see cuda.h */
        struct managed_chain *chain; /* what it reserves is charged there */
        bool limited;                /* to more than its partition */
        uint64_t cgroup;             /* that its process is in; 0: unknown */
        char *cgroup_folder;         /* of that; NULL: unknown */
        bool given;                  /* in a replay: the journal has that it gave its userfaultfd */
        bool taken_over;             /* its userfaultfd came from the keeper, and its client may not know */
        bool kill;                   /* lost: its process has to end too */
        bool reached;                /* the mover knows how devices reach its registered memory */
        uint64_t probe;              /* an address there for that */
        bool lost;                   /* what it had is gone: it ends as soon as it can be told so */
        struct list link;            /* in managed_state.lost */
        char why[160];
};

struct managed_share {
        struct managed_group *group;
        struct partition *partition;
        struct list promised;               /* in managed_state.promised, of one with a min */
        uint64_t bytes;                     /* sizes of its ranges */
        uint64_t unused[MANAGED_NODES_MAX]; /* of its mins, by explicit memory: what was last told the mover */
};

struct memfile;
struct managed_pool { /* of slots */
        struct managed_pool *next;
        uint32_t node, granule;
        struct memfile *memfile;
};

/* In struct service. Without a mover (`mover` NULL) no range can be made; mover_features() says why. */
struct managed_state {
        struct mover_node *nodes; /* the machine's first `nodes_count`, same numbers */
        uint32_t *bandwidth, *distance;
        uint32_t nodes_count;
        struct managed_pool *pools;
        int device; /* /dev/userfaultfd, or -1 */
        int device_error;
        uint64_t bytes; /* sizes of all ranges */
        struct list ranges, ending, lost;
        struct list promised;                   /* managed_share.promised */
        struct list changed[MANAGED_NODES_MAX]; /* managed_limits.news: limits that the mover may have to be told of */
        uint64_t limits_looked;                 /* how often one of them was looked at for that */
        uint64_t unused[MANAGED_NODES_MAX];     /* of all shares and limits, in sum */
        struct list joins, joined;              /* struct join: asked for; and answered */
        struct list waits;                      /* struct capacity_wait */
        struct list answered;                   /* orders: see orders_collect() */
        struct list taking;                     /* managed_reservation.taking */
        struct pages_taken pages;
        atomic_bool withheld; /* a process keeps granules of a CUDA node: see cuda_collect() */
};

/* By which the keeper holds a pool. */
uint64_t managed_pool_key(uint32_t node, uint32_t granule);
/* What the node's pools of slots have taken from the machine. */
uint64_t managed_pool_bytes(const struct service *svc, uint32_t node);

/* Made with its limits if it is not there. NULL: out of memory. */
struct managed_share *managed_share_get(struct service *svc, struct partition *p);

int managed_start(struct service *svc, char *why, size_t why_size);
/* Once more is harmless. */
void managed_stop(struct service *svc);
/* Takes what the mover has to tell. */
void managed_collect(struct service *svc);

/* ---- finding ---- */

/*
 * The managed reservation that [address, address + size) lies in, as granules [first, first + count); size 0 is all of
 * it from the address on. `access` is what the caller's session has to have opened it for (RIGHT_*); 0: the session is
 * not asked for (an administrator's request). 0 or OP_REFUSED: INVALID (not managed), SIZE, ALIGN, RANGE, FOREIGN,
 * DENIED.
 */
int managed_at(struct call *c, const struct partition *p, uint64_t address, uint64_t size, unsigned access,
               struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_count);
/* NULL: explicit. */
struct managed_reservation *managed_of(const struct reservation *r);
/* The one around the address, and its granule there: likewise. */
int managed_around(struct call *c, const struct partition *p, uint64_t address, unsigned access,
                   struct managed_reservation **ret, uint32_t *ret_granule);
/* NULL: it has not opened it. */
struct managed_member *managed_member_find(const struct managed_reservation *m, const struct session *s);

/* ---- pins ---- */

/* Counts them up; -ENOMEM, -EOVERFLOW (65,535 times): nothing changed. The mover is the caller's to ask. */
int managed_pins_add(struct managed_member *member, uint32_t first, uint32_t count);
/* Whether each of the granules is pinned by this session. */
bool managed_pins_all(const struct managed_member *member, uint32_t first, uint32_t count);
/* Counts them down; all are pinned. */
void managed_pins_drop(struct managed_member *member, uint32_t first, uint32_t count);
/* A copy of the counts, without those whose request has not ended. The caller frees it; NULL: out of memory. */
uint16_t *managed_pins_settled(const struct managed_member *member);

/* ---- taken away ---- */

/* In the call's transaction: its content or who may use it has changed; `revoked` is as it shall be. */
void managed_changed(struct call *c, struct managed_reservation *m);
/* It becomes the own of a session that has it open; everyone else loses it. Also in a replay. */
void managed_steal(struct service *svc, struct managed_reservation *m, struct session *thief);

/* ---- answers ---- */

/* Tokens for the mover: what is answered in the highest byte, a number below. */
enum managed_answer {
        ANSWER_FENCE = 1, /* id of a fence: see managed_fence_done() */
        ANSWER_END,       /* id of a reservation that has ended */
        ANSWER_JOIN,      /* number of a join */
};
#define ANSWER(kind, id)     ((uint64_t)(kind) << 56 | (id))
#define ANSWER_KIND(token)   ((enum managed_answer)((token) >> 56))
#define ANSWER_NUMBER(token) ((token) & ((1ull << 56) - 1))

/* What came of a request with a fence's token: 0, MANAGED_E_*, -errno. */
void managed_fence_done(struct service *svc, uint64_t fence, int result);
