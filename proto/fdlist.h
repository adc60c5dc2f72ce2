#pragma once

#include "proto/limits.h"

/* File descriptors that came with a packet, or go with one. They are owned: what nobody steals is closed. */
struct fdlist {
        int fd[SVMD_FDS_MAX];
        unsigned count;
        unsigned next; /* the first one that was not stolen yet */
};

void fdlist_init(struct fdlist *l);
/* Takes `fd` over. -EMFILE when the list is full (then the fd is still the caller's). */
int fdlist_add(struct fdlist *l, int fd);
/* Hands over the next one, in order; -1 when there is none. */
int fdlist_steal(struct fdlist *l);
/* How many were not stolen. */
unsigned fdlist_left(const struct fdlist *l);
/* Closes what was not stolen. */
void fdlist_close(struct fdlist *l);
