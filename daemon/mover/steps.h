#pragma once

#include "engine/managed.h"

/*
 * The engine's steps, carried out. Without the lock; results as managed.h says. -EAGAIN, and every result that
 * the engine does not know, is something to try again a little later.
 */
struct mover;
struct mover_range;

int step_execute(struct mover *m, const struct managed_step *step);

enum { BATCH_STEPS = 64, BATCH_BYTES = 2 << 20 };
/* Steps that lie behind one another (managed_take_behind()). */
struct batch {
        const struct managed_step *step[BATCH_STEPS];
        int result[BATCH_STEPS];
        unsigned count;
};
void batch_execute(struct mover *m, struct batch *b);
/* Whether trying again at once would be no use. */
bool step_rests(const struct managed_step *step, int result);

/* In a session's address space. */
int step_enter(struct mover *m, const struct managed_step *step);
/* In files and pools. */
int step_bytes(struct mover *m, const struct managed_step *step);
/* In a node's translation. */
int step_translate(struct mover *m, const struct managed_step *step);

/* A page that the range's memory lacks comes from `from`, or (NULL) is zero; one that it has stays. */
int bytes_fill(const struct mover_range *r, uint64_t offset, uint32_t page, const void *from);
