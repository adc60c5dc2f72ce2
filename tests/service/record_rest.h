#pragma once

#include "harness.h"

/* Does whatever brings those effects into the journal that a plain session has none of, each once, and takes it back:
 * of this process, of others, of administrators and devices. `a` and `b` are attached to the same partition. */
void record_rest(struct world *w, struct client *a, struct client *b);
/* Whose nodes the world has to have for it (world_private). */
extern const char *const record_rest_devices[];
/* And another node (world_shape). */
void record_rest_shape(struct machine *m);
