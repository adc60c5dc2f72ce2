#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range_entry;

/* A managed range, or in a child what it had of its parent's. Extents are cut from below, mappings from above; `pages`
 * has for each granule of mappings a bit a page that is in use. */
struct segment {
        uintptr_t start, end;
        uintptr_t extents; /* up to here */
        uintptr_t maps;    /* from here */
        uintptr_t next;    /* where the search for a mapping's place goes on */
        bool snapshot;     /* private memory of a child: nothing is cut from it any more */
        bool protected;    /* the program changed the access to parts */
        uint16_t *pages;
        const struct range_entry *states; /* what svmd says of each granule; NULL of a snapshot */
};

/* The segment that has the address, or NULL. Without a lock: segments stay. */
struct segment *segment_of(const void *p);
/* After an extent was not to be had: whether to try again. `caller`: of malloc(). */
bool segment_more(const void *caller);
/* The same for a mapping, and for the first one: `size` more bytes, now that there are more than `seen` segments or one
 * is made. */
bool segment_grow(size_t size, size_t seen);
/* Within jemalloc nothing can be made: notes what is wanted, for segment_more(). */
void segment_want(size_t size);
