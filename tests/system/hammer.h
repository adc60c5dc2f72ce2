#pragma once

#include "hammer_board.h"
#include "harness.h"

/*
 * Many processes of two users write numbered pages of one named managed range and check what they wrote, while what the
 * plan names is done to the range at full rate. What must hold, and is looked at all the time:
 *
 *      a writer finds in its page what it wrote last (page_check), and nobody else finds less (hand_look)
 *      what a device computes is what the pages hold
 *      every addition to a counter is made once, by whoever
 *
 * Processes: writers (the first owns the range), a joiner, a victim that is killed at random points, a reader without
 * the right to write, an administrator.
 */
enum {
        HAMMER_OWNER = 2001, /* uids; the writers take turns */
        HAMMER_WRITER = 2002,
        HAMMER_READER = 2003, /* not of the group */
        HAMMER_GROUP = 3000,
};

enum hammer_end {
        HAMMER_DONE,   /* as many writes as planned */
        HAMMER_FOUND,  /* something, and the plan says to stop there */
        HAMMER_STUCK,  /* nothing was written for the ceiling's time */
        HAMMER_BROKEN, /* a process ended that should not have */
};

struct daemon;
/* Everybody may attach to it. */
void hammer_partition(const struct daemon *d, const char *name);
/* Of this range, and everything: the caller takes away what it does not want. */
void hammer_plan(struct hammer_plan *ret, const struct daemon *d, const char *partition, const char *name,
                 uint32_t granule, uint32_t pages);

struct hammer {
        struct hammer_board *board;
        struct actor writer[8], joiner, victim, reader, admin;
        bool (*quiet)(void *userdata, struct hammer *h); /* may be NULL; while all stand still. False: a failure */
        /* Where the plan has restarts, instead of a kill and a start at once; everybody stands still after it, and
         * quiet() looks. May be NULL. */
        void (*restart)(void *userdata, struct hammer *h);
        void *userdata;
        struct daemon *daemon; /* where the plan has restarts: that is killed */
        unsigned quiets;       /* how often */
};

/* Forks, attaches and starts all. */
void hammer_start(struct hammer *h, const struct hammer_plan *plan);
/* Kills and replaces the victim, stands still now and then, until one of the ends. */
enum hammer_end hammer_watch(struct hammer *h);
/* Everybody checks all of its pages, counts, leaves and ends. */
void hammer_finish(struct hammer *h);
/* Everybody is killed. */
void hammer_abandon(struct hammer *h);
void hammer_free(struct hammer *h);
