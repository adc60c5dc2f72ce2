#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/history.h"
#include "base/list.h"
#include "service/walk.h"

/*
 * Who holds what, beside the ledger that says how much: of each session the process, its control group and container;
 * and what has been held over time, for the history.
 *
 *      session, or what no session of a partition holds: a track
 *          |  noted when its requests have changed something, and at each beat: bytes held x time, and the most
 *          v
 *      a batch, once a beat and in slices of a loop's turn -----> worker: summed up, into usage.db
 *
 * What a session's requests charge and give back is counted to the moment. What changes without them (managed granules
 * that move, memory that gives way, a lease that is granted) is seen at the next beat, and counts as it was until then.
 *
 * A thread of its own reads /proc and writes the history, so a slow disk holds nobody up. What cannot be written is
 * lost, with a warning.
 */
struct partition;
struct request;
struct service;
struct session;
struct who;

struct track_node {
        uint64_t held;    /* bytes, when it was last noted */
        uint64_t managed; /* of that: granules, at the last beat; of a partition: what its sessions hold */
        uint64_t peak;    /* since the last batch */
        uint64_t byte_ms; /* since then */
};
struct track {
        struct session *session; /* NULL: of a partition */
        struct who *who;         /* NULL: nobody has looked */
        struct list unlooked;    /* in accounts.unlooked: somebody shall look */
        uint64_t began_ns;       /* the process is no younger */
        uint64_t looked_ns, noted_ns;
        uint64_t walk; /* of a partition: to which its sum over sessions belongs */
        struct track_node nodes[];
};

struct batch;
struct accounts {
        struct jobs *jobs;       /* one thread */
        struct history *history; /* the worker's */
        char *state_dir;         /* NULL: no history is kept */
        struct list unlooked;
        bool looking;                 /* a job of it is under way */
        uint64_t next_ns;             /* of the beat; 0: there is none */
        uint64_t batched_ns;          /* when the last batch was made */
        uint64_t flushed_ns;          /* and when one was written, if it was empty */
        struct batch *batch;          /* is being made, or with the worker */
        bool walking;                 /* it is being made */
        uint64_t walk;                /* the so manieth */
        struct session_walk sessions; /* for it */
        char after[128];              /* and then the partitions behind this one */
        struct batch *ended;          /* parts of sessions that are gone */
        uint64_t slice_ns_max;        /* of the loop's CPU time, so far */
        bool failing;                 /* the worker's: writing failed, and it was said */
};

/* -ENOMEM, -EAGAIN. */
int accounts_init(struct service *svc);
/* The sessions and partitions that there are. */
void accounts_start(struct service *svc);
/* What was noted goes to the history, which is closed; nobody waits for a job of it any more. */
void accounts_stop(struct service *svc);
void accounts_fini(struct service *svc);
void accounts_collect(struct service *svc);
/* Blocks until what was asked for is done; the loop has to collect it. */
void accounts_wait(struct service *svc);
bool accounts_idle(struct service *svc);

/* It has a partition now. Without memory for it, its use counts as held by no session. */
void accounts_session_begin(struct service *svc, struct session *s);
/* Before anything of it is released. */
void accounts_session_end(struct service *svc, struct session *s);
void accounts_partition_end(struct service *svc, struct partition *p);
/* A request of it has changed something. */
void accounts_note(struct service *svc, struct session *s);

/* Has the worker look at the process of every session that it has not looked at lately. True: `r` waits for that, and
 * is served again. */
bool accounts_look(struct service *svc, struct request *r);

/* In the worker: opens the history, if need be. 0, or negative errno with a sentence. */
int accounts_history(struct service *svc, char *why, size_t why_size);

/* ---- what is held now ---- */

/* Bytes that sessions hold as managed granules on the node, beside what is charged to their accounts. */
uint64_t accounts_managed(struct service *svc, const struct session *s, uint32_t node);
/* Of what is charged to it, what its leases hold. */
uint64_t accounts_leased(const struct session *s, uint32_t node);
/* What leases hold that are kept and that no session has claimed. */
uint64_t accounts_leased_idle(const struct partition *p, uint32_t node);
/* What the partition has on the node: charged, and managed. */
void accounts_partition(struct service *svc, const struct partition *p, uint32_t node, uint64_t *ret_charged,
                        uint64_t *ret_managed);
