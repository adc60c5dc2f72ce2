#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/tree.h"

/*
 * What svmd-keeper was given and has not been told to drop, so that another one can be given it all again. The
 * descriptors are others'; each stays open as long as it is here. All zeroes: nothing.
 */
struct held {
        struct tree tree;
        uint64_t count;
        bool unseen; /* some are */
};

/* A key that is there already names this descriptor from now on. -ENOMEM. */
int held_put(struct held *h, uint64_t key, int fd);
/* The same for many at once, when svmd starts: which file each is is looked at by held_look(), which is to be called
 * before the first one may be closed. */
int held_put_unseen(struct held *h, uint64_t key, int fd);
void held_look(struct held *h);
void held_drop(struct held *h, uint64_t key);
void held_drop_all(struct held *h);
/* In the order of keys; a non-zero return ends the walk and is returned. */
typedef int (*held_fn)(void *userdata, uint64_t key, int fd);
int held_each(const struct held *h, held_fn fn, void *userdata);
