#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/keeper.h"
#include "main/held.h"

/*
 * svmd-keeper as svmd goes on with it:
 *
 *      kept --it ends--> another one is started and given everything again --> kept
 *                                        '--that fails--> alone, for good
 *
 * Nobody else notices: a put that finds it gone comes back when the other one has what was put. Alone, puts succeed and
 * mean nothing.
 */
struct holder {
        struct keeper *keeper; /* NULL: alone, or not open */
        struct held held;
        const char *runtime_dir;
        char *program;
        unsigned replaced;    /* how often */
        unsigned short_lived; /* of these, one after the other */
        bool journal_due;     /* this one has all but the journal */
        uint64_t since_ns;    /* that this one is here */
        char why[512];        /* alone: why there is no other */
        /* There is another keeper, or none any more. */
        void (*changed)(void *userdata);
        void *userdata;
};

/* Connects, starting `program` where none runs, and gives all that it holds to `fn`, as keeper_list() does. Zeroes but
 * for `changed` before. 0, or negative errno with a sentence. */
int holder_open(struct holder *h, const char *runtime_dir, const char *program, keeper_fn fn, void *userdata, char *why,
                size_t why_size);
/* What it holds stays with the keeper; `quit`: the keeper ends, and all of it with it. */
void holder_close(struct holder *h, bool quit);

int holder_put(struct holder *h, uint64_t key, int fd);
void holder_drop(struct holder *h, uint64_t key);
/* All that was done is in the journal: what was dropped may go. */
void holder_flush(struct holder *h);
/* Its connection has ended. */
void holder_replace(struct holder *h);
/* keeper_become() with the program in this file. */
int holder_become(struct holder *h, const char *program, char *why, size_t why_size);
