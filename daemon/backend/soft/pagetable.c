#include "backend/soft/pagetable.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"

/*
 *     bits 47..39   38..30   29..21   20..12   11..0
 *          root     dir      dir      leaf     byte
 *
 * A walk over a range goes from leaf to leaf and steps over whole subtrees that are missing, so clearing a terabyte
 * of which little was ever mapped costs little.
 */
enum { ENTRIES = 512, LEVEL_BITS = 9, PAGE_BITS = 12, LEAF_BITS = PAGE_BITS + LEVEL_BITS, DIR_LEVELS = 3 };

#define VALID     1ull
#define LEAF_SIZE (1ull << LEAF_BITS)

struct pt_leaf {
        struct pte pte[ENTRIES];
};

struct pt_dir {
        void *child[ENTRIES]; /* directories, or leaves in the lowest of the directories */
};

/* Bits of address below the index into a directory of `level` (2: the root). */
static unsigned shift_of(int level) {
        return LEAF_BITS + (unsigned)level * LEVEL_BITS;
}

static unsigned dir_index(uint64_t va, int level) {
        return (unsigned)(va >> shift_of(level)) % ENTRIES;
}

static unsigned leaf_index(uint64_t va) {
        return (unsigned)(va >> PAGE_BITS) % ENTRIES;
}

static void free_dir(struct pt_dir *dir, int level) {
        if (!dir)
                return;
        for (int i = 0; i < ENTRIES; i++) {
                if (level > 0)
                        free_dir(dir->child[i], level - 1);
                else
                        alloc_free(dir->child[i]);
        }
        alloc_free(dir);
}

void pagetable_fini(struct pagetable *pt) {
        free_dir(pt->root, DIR_LEVELS - 1);
        pt->root = NULL;
}

/* The leaf of `va`; when it is missing, NULL and in `ret_skip` how many bytes from `va` on are missing with it. */
static struct pt_leaf *leaf_at(const struct pagetable *pt, uint64_t va, uint64_t *ret_skip) {
        const struct pt_dir *dir = pt->root;

        if (!dir) {
                *ret_skip = PAGETABLE_END - va;
                return NULL;
        }
        for (int level = DIR_LEVELS - 1; level >= 0; level--) {
                void *child = dir->child[dir_index(va, level)];

                if (!child) {
                        uint64_t span = 1ull << shift_of(level);

                        *ret_skip = span - (va & (span - 1));
                        return NULL;
                }
                dir = child;
        }
        return (struct pt_leaf *)(void *)dir;
}

static int make_leaf(struct pagetable *pt, uint64_t va) {
        struct pt_dir *dir;

        if (!pt->root)
                pt->root = alloc_zero(sizeof(*pt->root));
        dir = pt->root;
        for (int level = DIR_LEVELS - 1; dir && level >= 0; level--) {
                void **child = &dir->child[dir_index(va, level)];

                if (!*child)
                        *child = alloc_zero(level > 0 ? sizeof(struct pt_dir) : sizeof(struct pt_leaf));
                dir = *child;
        }
        return dir ? 0 : -ENOMEM;
}

int pagetable_reserve(struct pagetable *pt, uint64_t va, uint64_t size) {
        uint64_t end = va + size;
        int r = 0;

        for (; r == 0 && va < end; va = (va | (LEAF_SIZE - 1)) + 1)
                r = make_leaf(pt, va);
        return r;
}

/* The entries of the first leaf with something of [*va, end); *va is moved behind them. */
static struct pte *next_entries(const struct pagetable *pt, uint64_t *va, uint64_t end, unsigned *ret_count) {
        uint64_t skip;

        end = end < PAGETABLE_END ? end : PAGETABLE_END;
        while (*va < end) {
                struct pt_leaf *leaf = leaf_at(pt, *va, &skip);
                unsigned first = leaf_index(*va);
                uint64_t pages = (end - *va) >> PAGE_BITS;

                if (leaf) {
                        *ret_count = pages < ENTRIES - first ? (unsigned)pages : ENTRIES - first;
                        *va += (uint64_t)*ret_count << PAGE_BITS;
                        return &leaf->pte[first];
                }
                if (skip >= end - *va)
                        break;
                *va += skip;
        }
        return NULL;
}

void pagetable_set(struct pagetable *pt, uint64_t va, uint64_t size, uint32_t slot, uint64_t offset,
                   struct map_attrs attrs) {
        uint64_t end = va + size;
        struct pte *pte;
        unsigned count;

        while ((pte = next_entries(pt, &va, end, &count)) != NULL) {
                for (unsigned i = 0; i < count; i++, offset += PAGETABLE_PAGE)
                        pte[i] = (struct pte){ .offset = offset | VALID, .slot = slot, .attrs = attrs };
        }
}

void pagetable_clear(struct pagetable *pt, uint64_t va, uint64_t size) {
        uint64_t end = va + size;
        struct pte *pte;
        unsigned count;

        while ((pte = next_entries(pt, &va, end, &count)) != NULL) {
                for (unsigned i = 0; i < count; i++)
                        pte[i] = (struct pte){ 0 };
        }
}

void pagetable_protect(struct pagetable *pt, uint64_t va, uint64_t size, struct map_attrs attrs) {
        uint64_t end = va + size;
        struct pte *pte;
        unsigned count;

        while ((pte = next_entries(pt, &va, end, &count)) != NULL) {
                for (unsigned i = 0; i < count; i++)
                        if (pte[i].offset & VALID)
                                pte[i].attrs = attrs;
        }
}

static bool continues(const struct pte *before, const struct pte *after) {
        return after->offset == before->offset + PAGETABLE_PAGE && after->slot == before->slot &&
               after->attrs.access == before->attrs.access && after->attrs.pat == before->attrs.pat &&
               after->attrs.kind == before->attrs.kind;
}

uint64_t pagetable_run(const struct pagetable *pt, uint64_t va, uint64_t max, struct pte *ret) {
        uint64_t skip, in_page = va % PAGETABLE_PAGE, size;
        const struct pt_leaf *leaf;
        unsigned i = leaf_index(va);

        if (va >= PAGETABLE_END)
                return 0;
        leaf = leaf_at(pt, va, &skip);
        if (!leaf || !(leaf->pte[i].offset & VALID))
                return 0;
        *ret = leaf->pte[i];
        ret->offset = (ret->offset & ~VALID) + in_page;
        for (size = PAGETABLE_PAGE - in_page; size < max && i + 1 < ENTRIES; size += PAGETABLE_PAGE, i++)
                if (!continues(&leaf->pte[i], &leaf->pte[i + 1]))
                        break;
        return size < max ? size : max;
}

uint64_t pagetable_gap(const struct pagetable *pt, uint64_t va, uint64_t max) {
        uint64_t end, at = va, skip;

        if (va >= PAGETABLE_END)
                return max;
        end = max < PAGETABLE_END - va ? va + max : PAGETABLE_END;
        while (at < end) {
                const struct pt_leaf *leaf = leaf_at(pt, at, &skip);

                if (!leaf)
                        at += skip;
                else if (!(leaf->pte[leaf_index(at)].offset & VALID))
                        at = (at | (PAGETABLE_PAGE - 1)) + 1;
                else
                        break;
        }
        return (at < end ? at : end) - va;
}
