#pragma once

#include "core/admission.h"
#include "core/ids.h"

struct keeping;
struct name;
struct partition;
struct session;
struct state;

/*
 * What a session asked for on several nodes at once, from its asking on. Memory that is created out of it takes over
 * its charge, and memory that is released into it gives its charge back to it, so nobody comes in between.
 *
 *      asked --> waits --> granted --session ends--> gone
 *                            |  ^          \--kept--> its partition pays: idle
 *                            |  +--claimed by name-------/
 *                            +--given back--> gone
 */
enum lease_state {
        LEASE_WAITS,
        LEASE_GRANTED,
        LEASE_EXPIRED, /* it waited in vain, and could not be told yet */
};

struct lease {
        struct object object;
        struct partition *partition;
        struct session *session;        /* NULL: it is kept, and idle */
        struct list by_session, by_end; /* by_end: the service's, while it waits and its time is bounded */
        enum lease_state state;
        bool releasing;          /* an operation that is not committed yet ends it */
        bool making;             /* the service's: room is being made for it */
        uint64_t until_ns;       /* CLOCK_BOOTTIME; UINT64_MAX: it waits for ever */
        struct name *name;       /* by which others may claim it, or NULL */
        struct keeping *keeping; /* NULL: it ends with its session */
        struct admission admission;
        struct lease_need {
                uint32_t node;
                uint64_t asked;       /* or the most that has been left of it since, where that was more */
                uint64_t filling;     /* what operations that are not committed yet release into it */
        } * nodes;                    /* admission.count of them, no node twice */
        struct admission_need *needs; /* bytes: what is left */
};

/* Linked to its session and in ids, where room must have been reserved; in no line. Accounts are the session's, or
 * where there is none the partition's. NULL: out of memory. */
struct lease *lease_new(struct state *s, uint64_t id, struct partition *p, struct session *session,
                        const struct lease_need *nodes, uint32_t count);
/* It is in no line, is not kept, and its charges were given back. */
void lease_free(struct state *s, struct lease *l);
/* The need whose accounts this is one of, or NULL. */
const struct lease_need *lease_need_of(const struct lease *l, const struct account *a);
/* What is left on the node of one that is granted. */
uint64_t lease_left(const struct lease *l, uint32_t node);
/* Takes bytes out of it, at most lease_left(), and puts them back, or others. They must be somebody's charge
 * meanwhile, and the node one of its own. */
void lease_take(struct lease *l, uint32_t node, uint64_t bytes);
void lease_return(struct lease *l, uint32_t node, uint64_t bytes);
/* By how much more it would have grown when so much more is released into it. */
uint64_t lease_growth(const struct lease *l, uint32_t node, uint64_t bytes);
/* Bytes of all nodes, as they were asked for. */
uint64_t lease_size(const struct lease *l);

/* It has that node, too, and nothing there; -ENOMEM. And the one that came last no more. */
int lease_add_node(struct lease *l, uint32_t node);
void lease_drop_node(struct lease *l);
bool lease_has_node(const struct lease *l, uint32_t node);

/* One that is granted passes from its session to its partition, and to a session of that, whose accounts are there. */
void lease_orphan(struct lease *l);
void lease_adopt(struct lease *l, struct session *session);
/* Makes the accounts that lease_adopt() needs: -ENOMEM. */
int lease_accounts(struct state *s, struct session *session);
/* The first account of the session's own, or of its cgroup, that has no room for what is left; and the need. Its
 * accounts are there. NULL: none. */
const struct account *lease_too_much_for(const struct lease *l, const struct session *session,
                                         const struct admission_need **ret_need);

/* A name that is not taken among its partition's leases: -ENOMEM. */
int lease_set_name(struct lease *l, const char *text, uint32_t uid, uint32_t gid, uint32_t mode);
void lease_drop_name(struct lease *l);
