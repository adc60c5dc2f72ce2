#pragma once

#include "svmd.h"

struct device;
struct index;

/* A piece of the index in host memory; pieces lie one behind the other. */
struct host_piece {
        svmd_mem mem;
        svmd_node node;
        size_t size;
};

struct devices {
        svmd_session *session;
        struct device *all;
        unsigned count;
        const struct index *index;
        size_t size; /* bytes of the index, all pieces together */
        const struct host_piece *pieces;
        size_t pieces_count;
        uint64_t alias; /* where a device's space shows the host's pages while they are copied */
};

/* Finds the soft nodes. What goes wrong in these functions ends the program with a line that says so. */
void devices_find(struct devices *d, svmd_session *s);
void devices_free(struct devices *d);
svmd_node devices_first(const struct devices *d);
/* Takes `size` bytes of each device and shows them at `address` of a new space of it. */
void devices_take(struct devices *d, uint64_t address, size_t size);
/* Gives each device its own copy, at the same address, and compares it with the host's. */
void devices_copy(struct devices *d);
/* Has each device sum its copy and chase the list of words in it, then write into it and sum again. */
void devices_ask(struct devices *d);
/* The last device does the same over the host's own pages, through its link. */
void devices_ask_link(struct devices *d);
/* A space of the first device that shows nothing: an access is refused there. */
void devices_ask_empty(struct devices *d);
/* Each device overwrites what it took, and nobody waits for it. */
void devices_scribble(struct devices *d, uint64_t address, size_t size);
