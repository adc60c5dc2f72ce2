#pragma once

#include "world.h"

/*
 * Writers in three processes, while everything that a range can be asked for is asked for at full rate, and a fourth
 * process comes and goes: each writer finds what it has left.
 */

/* First: prints the seed, or takes SVMD_SEED. */
void hammer_seed(void);
uint32_t below(uint32_t n);
/* Failures are injected while that is on. */
void hammer_arm(void (*arm)(bool on));
/* Until so many requests have been answered. */
void hammer(struct world *w, struct range_size s, uint64_t moves);
