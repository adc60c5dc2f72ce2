#pragma once

#include <stdint.h>

#include "svmd.h"

/*
 * Clients of every sort, for what may happen to svmd: explicit memory that the CPU and a device see, managed memory
 * that moves while several write in it, and a crowd of idle sessions. They fail when a byte is wrong, when a session
 * ends, or when they are told of anything but a new epoch. The soft nodes gpu0 and gpu1 have to be there.
 */
struct daemon;

/* In a partition "lab" that it makes. */
void crew_begin(const struct daemon *d, svmd_session *admin);
void crew_run(void);
void crew_rest(void);
/* At rest: every byte is looked at, and everybody knows this epoch, and was told of so many (0: not looked at, where an
 * svmd may have ended before it could tell). */
void crew_look(uint64_t epoch, uint64_t told);
/* Everything back. */
void crew_end(void);
