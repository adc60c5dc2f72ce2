#pragma once

#include <stdint.h>

#include "range_states.h"

/*
 * The moments at which svmds are killed: half of them chance has chosen, the others are when a granule is seen in the
 * state that was found least often so far, if one is within a short time. Of eight, one is SIGABRT,
 * as a failure of its own raises it, the others are SIGKILL. What counts is what is found afterwards, when that svmd is
 * dead, in the files that its keeper holds.
 */
struct daemon;

struct kill_when {
        uint64_t kills, found[RANGE_STATES_N]; /* kills that left granules in the state */
};

void kill_when(struct kill_when *k, struct daemon *d);
/* A table. */
void kill_when_print(const struct kill_when *k);
uint64_t kill_when_least(const struct kill_when *k);
