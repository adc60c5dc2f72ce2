#pragma once

#include <stdio.h>

/*
 * Whether another program can go on where this svmd is. Before svmd becomes another program it runs it with
 * --check-takeover and the options that it has itself, and reads what it says:
 *
 *      svmd VERSION
 *      journal OLDEST NEWEST           formats of the journal that it reads
 *      effects HIGHEST                 kinds of effects that it knows
 *      ranges VERSION                  state files of managed ranges
 *      store VERSION                   of state.db that it makes, and the newest that it reads
 *      runtime DIR, state DIR          where it would look, as it is configured now
 *      node NUMBER KIND BYTES NAME     each that it would have
 *      good                            the last line
 *
 * A line that is not known is passed over, so that a new version may say more. svmd-keeper does likewise, with
 * "table OLDEST NEWEST" and "protocol VERSION".
 */
struct machine;

struct takeover {
        const struct machine *machine;
        const char *runtime_dir, *state_dir;
};

void takeover_print(FILE *out, const struct takeover *t);
/* Runs `program` with `argv` (its first is replaced): 0, or negative with a sentence. Takes ten seconds at most. On any
 * thread. */
int takeover_check(const struct takeover *t, const char *program, char *const *argv, char *why, size_t why_size);
int takeover_check_keeper(const char *program, char *why, size_t why_size);
