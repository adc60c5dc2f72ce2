#pragma once

struct managed_step;
struct mover;

/* Before a step is carried out: what it takes of the machine for a range's memfd is to be of the host that it names. */
void place_prefer(struct mover *m, const struct managed_step *step);
