#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ledger.h"

/*
 * Bytes on several nodes at once, all of them or none; and the line of those who wait for that.
 *
 *      asked --> in line --its turn, and room for all of it--> granted: charged
 *                   \--called off--> as if it had not been asked
 *
 * Who stands in line holds nothing, so no two wait for each other. Nobody behind gets what somebody before him waits
 * for, while room for others is theirs at once: who is kept waiting by limits of his own (those below a node) stands
 * in the way of nobody who is not under them too.
 *
 * Turns go by priority; then they are fair between shares (partitions), by bytes asked for (start-time fair queueing);
 * then by who came first. Who was overtaken ADMISSION_OVERTAKEN times by such as came later has the next turn whatever
 * the others' priority: so everybody's turn comes, if only what is granted is given back some day.
 */
enum { ADMISSION_OVERTAKEN = 64 };

/* Of a partition; zeroes at first. */
struct admission_share {
        uint64_t finish; /* what it has asked for until now, on the line's clock of bytes */
};

struct admission_need {
        struct account *account; /* its own limit and those of all accounts above it count */
        uint64_t bytes;          /* more than 0 */
        struct charge charge;    /* once it is granted */
};

struct admission {
        struct list by_line; /* in the line, or in the list of who has just been granted */
        struct admission_share *share;
        struct admission_need *needs; /* no account stands above two of them */
        uint32_t count, priority;     /* priority: more goes first */
        uint32_t overtaken;
        uint64_t number, start; /* the line's */
        bool front;             /* since the last step: nobody before it waits for any account that it needs */
};

struct admission_line {
        struct list waiting; /* in the order of turns */
        uint64_t count, number, now, latest;
        /* Whether something beside accounts forbids it now; it may look at a's needs. NULL: nothing ever does. */
        bool (*forbids)(void *userdata, const struct admission *a);
        void *userdata;
};

void admission_line_init(struct admission_line *line, bool (*forbids)(void *userdata, const struct admission *a),
                         void *userdata);
/* Into the line; its members up to `priority` are set, and it must not be in one. */
void admission_enter(struct admission_line *line, struct admission *a);
/* Out of it again. */
void admission_call_off(struct admission_line *line, struct admission *a);
/* Charges all whose turn has come, and moves them to the end of `granted`. To be called when somebody has entered or
 * been called off, something was given back, or a limit has changed. */
void admission_step(struct admission_line *line, struct list *granted);
/* The first account whose limit as such is below what is needed: it will wait until that changes. NULL: none. */
const struct account *admission_too_much(const struct admission *a);
/* The first account that has too little room for it now, whoever waits. NULL: none. */
const struct account *admission_lacks(const struct admission *a);
