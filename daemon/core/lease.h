#pragma once

#include "core/admission.h"
#include "core/ids.h"

struct session;
struct state;

/*
 * What a session asked for on several nodes at once, from its asking on. Memory that is created out of it takes over
 * its charge, so nobody comes in between.
 */
enum lease_state {
        LEASE_WAITS,
        LEASE_GRANTED,
        LEASE_EXPIRED, /* it waited in vain, and could not be told yet */
};

struct lease {
        struct object object;
        struct session *session;
        struct list by_session, by_end; /* by_end: the service's, while it waits and its time is bounded */
        enum lease_state state;
        bool releasing;    /* an operation that is not committed yet ends it */
        uint64_t until_ns; /* CLOCK_BOOTTIME; UINT64_MAX: it waits for ever */
        struct admission admission;
        struct lease_need {
                uint32_t node;
                uint64_t asked;
        } * nodes;                     /* admission.count of them, no node twice */
        struct admission_need needs[]; /* bytes: what is left */
};

/* Linked to its session and in ids, where room must have been reserved; in no line. Accounts are the session's. NULL:
 * out of memory. */
struct lease *lease_new(struct state *s, uint64_t id, struct session *session, const struct lease_need *nodes,
                        uint32_t count);
/* It is in no line, and its charges were given back. */
void lease_free(struct state *s, struct lease *l);
/* The need whose accounts this is one of, or NULL. */
const struct lease_need *lease_need_of(const struct lease *l, const struct account *a);
/* What is left on the node of one that is granted. */
uint64_t lease_left(const struct lease *l, uint32_t node);
/* Takes bytes out of it, at most lease_left(), and puts them back. They must be somebody's charge meanwhile. */
void lease_take(struct lease *l, uint32_t node, uint64_t bytes);
void lease_return(struct lease *l, uint32_t node, uint64_t bytes);
