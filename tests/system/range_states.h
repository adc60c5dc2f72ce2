#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The states of granules as svmd has written them down, read from the files themselves among the descriptors of a
 * process that holds them: svmd, or its keeper while no svmd runs.
 */
enum { RANGE_STATES_N = 10, RANGE_FILES = 8, RANGE_NODES = 8 };

struct range_states {
        struct {
                const void *head;
                uint64_t bytes;
        } file[RANGE_FILES];
        unsigned files;
};

void range_states_open(struct range_states *s, pid_t holder);
void range_states_close(struct range_states *s);

/* How many granules are in each state just now. */
void range_states_count(const struct range_states *s, uint64_t ret[RANGE_STATES_N]);
bool range_states_have(const struct range_states *s, unsigned state);
/* What the ledger must hold for them, by node: where they rest, without the copies of those that are duplicated. */
void range_states_bytes(const struct range_states *s, uint64_t ret[RANGE_NODES]);
const char *range_state_name(unsigned state);
