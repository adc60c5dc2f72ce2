#pragma once

#include "svmd.h"

struct device;
struct index;

struct devices {
        svmd_session *session;
        struct device *all;
        unsigned count;
        const struct index *index;
        size_t size;    /* bytes of the index */
        uint64_t alias; /* where a device's space shows its copy while it is made */
};

/* Finds the soft nodes. What goes wrong in these functions ends the program with a line that says so. */
void devices_find(struct devices *d, svmd_session *s);
void devices_free(struct devices *d);
svmd_node devices_first(const struct devices *d);
/* Takes `size` bytes of each device and shows them at `address` of a new space of it. */
void devices_take(struct devices *d, uint64_t address, size_t size);
/* Moves a part of the index to each device, which sums what it then has; a whole number of `granule`s each. */
void devices_spread(struct devices *d, size_t granule);
/* Gives each device a copy in memory of its own, compares it with the index, and shows it at the same address. */
void devices_copy(struct devices *d);
/* Has each device sum its copy and chase the list of words in it, then write into it and sum again. */
void devices_ask(struct devices *d);
/* The last device does the same over the index itself, whose pages come to it or are reached over its links. */
void devices_ask_link(struct devices *d);
/* A space of the first device that shows nothing: an access is refused there. */
void devices_ask_empty(struct devices *d);
/* Each device overwrites what it took, and nobody waits for it. */
void devices_scribble(struct devices *d, uint64_t address, size_t size);
