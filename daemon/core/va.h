#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/tree.h"

/*
 * A space of addresses (or of slots of a pool, or of a file) out of which extents are taken.
 *
 *     head      extent            extent
 *      |gap....|####|gap..........|#####|gap...|
 *
 * Each extent owns the gap that follows it, so an extent carries all that both taking and freeing
 * need: va_free() cannot fail, and an extent that was freed can be put back at its place with
 * va_alloc_at() as long as nobody took it. Best fit: the smallest gap in which the aligned extent
 * fits, the lowest address among equals. All operations are O(log n).
 *
 * Alignment: a power of two from VA_PAGE to 1 GiB. It is rounded up to one of the four classes
 * 4 KiB, 64 KiB, 2 MiB and 1 GiB, for each of which the tree of gaps knows what fits.
 */
#define VA_PAGE      4096ull
#define VA_ALIGN_MAX (1ull << 30)

enum {
        VA_FITS = 3, /* 64 KiB, 2 MiB, 1 GiB; 4 KiB is the size of the gap itself */
};

enum {
        _VA_E_OK,
        VA_E_FULL,  /* no gap holds it */
        VA_E_TAKEN, /* part of it belongs to an extent */
};

/* What a walk down by_gap looks at lies together. */
struct va_extent {
        struct tree_node by_addr;
        struct tree_node by_gap; /* linked only while gap > 0 */
        uint64_t gap;            /* free bytes between the end of this extent and the next one */
        uint64_t start, size;
        uint32_t fit_max[VA_FITS]; /* most pages of an extent aligned to each class in this subtree of gaps; at most
                                      UINT32_MAX */
        uint32_t flags;            /* the owner's */
};

struct va_space {
        uint64_t start, end; /* [start, end), multiples of VA_PAGE */
        uint64_t used;       /* bytes in extents */
        uint64_t count;      /* extents */
        struct tree by_addr, by_gap;
        struct va_extent head;  /* of size zero, at start: owns the first gap */
        struct va_extent *last; /* the head, or where an address was asked for last: the next is often behind it */
};

/* The space must not move afterwards. -EINVAL when start or end is no multiple of VA_PAGE, or end <= start, or end -
 * start > 2^57. */
int va_init(struct va_space *va, uint64_t start, uint64_t end);

/* Takes `size` bytes (a multiple of VA_PAGE, not 0) into `ext`. 0, VA_E_FULL, or -EINVAL. */
int va_alloc(struct va_space *va, struct va_extent *ext, uint64_t size, uint64_t align);
/* Takes exactly [start, start + size). 0, VA_E_TAKEN, or -EINVAL (misaligned, outside). */
int va_alloc_at(struct va_space *va, struct va_extent *ext, uint64_t start, uint64_t size);
/* `ext` must be taken from this space. Cannot fail; `ext` keeps start and size. */
void va_free(struct va_space *va, struct va_extent *ext);

/* The extent that contains `addr`, or NULL. */
struct va_extent *va_find(const struct va_space *va, uint64_t addr);
/* The first extent that ends above `addr`, in address order, or NULL. The head is never returned. */
struct va_extent *va_first_from(const struct va_space *va, uint64_t addr);
struct va_extent *va_next(const struct va_extent *ext);

/* The largest gap, in bytes (0: full). */
uint64_t va_largest_gap(const struct va_space *va);

/* Every invariant (order, gaps, trees, summaries, sums). 0 or -EUCLEAN. For tests. */
int va_check(const struct va_space *va);
