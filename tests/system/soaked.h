#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <svmd.h>

#include "daemon.h"

/*
 * A machine with a host and two soft devices that are too small for all, and the partition "soak" on it. A life in it
 * is one session, which does at random what a client can do: it writes, moves, advises, lends to devices and frees what
 * it has, and compares it. What a limit, a drained node or a restart refuses it is no failure; wrong bytes always are.
 */
struct soaked {
        struct daemon d;
        svmd_node host, gpu[2];
};

/* `history`: it is written down who used how much. */
void soaked_begin(struct soaked *k, bool history);
/* So many deeds, with pauses of up to so long between them. */
void soaked_live(const struct soaked *k, uint64_t deeds, unsigned pause_us);
/* Done, or refused as it may be here; else it is told. */
bool soaked_usual(int code);
