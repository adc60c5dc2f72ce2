#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Objects of one size that there may be a million of. They lie side by side in blocks of 2 MiB, which the machine maps
 * as one page each where it can: a walk over many of them then waits for the objects alone, not for page tables too.
 * A small slab costs the pages that it uses, no more: its first block has pages of the usual size.
 */
struct slab {
        size_t size;
        struct list roomy; /* blocks with room, empty ones last */
        uint32_t blocks, empty;
};

void slab_init(struct slab *s, size_t size);
/* Everything must have been put back. */
void slab_fini(struct slab *s);
/* Zeroed; NULL when out of memory. Counts as one allocation where a test makes the Nth fail. */
void *slab_take(struct slab *s);
/* NULL is a no-op. The slab must still be there, at the place where it was initialised. */
void slab_put(void *object);
