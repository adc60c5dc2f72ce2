#pragma once

#include <stdint.h>

#include "core/vmap.h"

/*
 * A device's page table: four levels of 512 entries over 48 bits of address, pages of 4 KiB. Tables are made when a
 * range is first mapped and stay until the end, so that a range that was mapped once can be mapped again without
 * memory. Addresses and sizes are multiples of 4 KiB below PAGETABLE_END; anything may be asked of pagetable_run().
 */
#define PAGETABLE_PAGE 4096ull
#define PAGETABLE_END  (1ull << 48)

struct pt_dir;

/* What is shown at one page. */
struct pte {
        uint64_t offset; /* in the file; lowest bit: valid */
        uint32_t slot;
        struct map_attrs attrs;
};

_Static_assert(sizeof(struct pte) == 16, "a page table entry is 16 bytes");

struct pagetable {
        struct pt_dir *root; /* NULL: nothing was ever mapped */
};

void pagetable_fini(struct pagetable *pt);

/* Makes the tables of a range. -ENOMEM: some may have been made, and nothing is mapped. */
int pagetable_reserve(struct pagetable *pt, uint64_t va, uint64_t size);
/* The tables must have been made. Replaces what was there. */
void pagetable_set(struct pagetable *pt, uint64_t va, uint64_t size, uint32_t slot, uint64_t offset,
                   struct map_attrs attrs);
void pagetable_clear(struct pagetable *pt, uint64_t va, uint64_t size);
/* Pages that show nothing stay so. */
void pagetable_protect(struct pagetable *pt, uint64_t va, uint64_t size, struct map_attrs attrs);

/* How many bytes from `va`, at most `max`, one file shows in one piece and with the same attributes; it may be fewer
 * than there are, but never reaches into another piece. 0: nothing is mapped at `va`. `ret` says where `va` itself
 * lies. */
uint64_t pagetable_run(const struct pagetable *pt, uint64_t va, uint64_t max, struct pte *ret);

/* How many bytes from `va`, at most `max`, show nothing; fewer than `max` only where something is mapped, or at the
 * end. */
uint64_t pagetable_gap(const struct pagetable *pt, uint64_t va, uint64_t max);
