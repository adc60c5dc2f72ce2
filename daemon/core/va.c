#include "core/va.h"

#include <errno.h>
#include <stddef.h>

#include "base/list.h"

/*
 * by_addr holds the head and every extent, by_gap those of them whose gap is not empty, ordered by
 * (gap, start). With page alignment the best fit is the first gap of that order that is large enough.
 * With a larger alignment a gap may be large enough and yet not fit, as the bytes before its first
 * aligned address do not count. So every node of by_gap knows, per class of alignment, the largest
 * aligned extent in its subtree, and the first gap that fits is found by asking the left subtree, the
 * node, and the right subtree in turn, without ever turning back.
 *
 * Summaries count pages and end at UINT32_MAX (16 TiB). An extent larger than that and aligned looks
 * at each gap that is large enough instead: a space holds 8,192 of them at most.
 *
 * At 100,000 extents an operation mostly waits for memory, so what a walk may need next is asked for
 * before it is known to be needed.
 */
#define SIZE_MAX_SPACE (1ull << 57)
#define PAGE_SHIFT     12

static const uint64_t fit_align[VA_FITS] = { 64ull << 10, 2ull << 20, 1ull << 30 };

static inline struct va_extent *addr_entry(const struct tree_node *n) {
        return container_of(n, struct va_extent, by_addr);
}

static inline struct va_extent *gap_entry(const struct tree_node *n) {
        return container_of(n, struct va_extent, by_gap);
}

static inline uint64_t end_of(const struct va_extent *e) {
        return e->start + e->size;
}

/* Bytes from the end of the extent to the first address aligned to `align`. */
static inline uint64_t lost(const struct va_extent *e, uint64_t align) {
        return -end_of(e) & (align - 1);
}

/* The largest extent aligned to `align` that the gap holds. */
static inline uint64_t fit(const struct va_extent *e, uint64_t align) {
        uint64_t n = lost(e, align);

        return e->gap > n ? e->gap - n : 0;
}

static inline uint32_t larger(uint32_t a, uint32_t b) {
        return a > b ? a : b;
}

static const struct va_extent no_gaps; /* what stands below a leaf */

static inline uint32_t fit_computed(const struct va_extent *e, int class) {
        const struct tree_node *left = e->by_gap.child[0], *right = e->by_gap.child[1];
        const struct va_extent *below[2] = { left ? gap_entry(left) : &no_gaps, right ? gap_entry(right) : &no_gaps };
        uint64_t pages = fit(e, fit_align[class]) >> PAGE_SHIFT;
        uint32_t own = pages < UINT32_MAX ? pages : UINT32_MAX;

        return larger(own, larger(below[0]->fit_max[class], below[1]->fit_max[class]));
}

static bool fit_update(struct tree_node *n) {
        struct va_extent *e = gap_entry(n);
        uint32_t changed = 0;

        for (int class = 0; class < VA_FITS; class ++) {
                uint32_t now = fit_computed(e, class);

                changed |= now ^ e->fit_max[class];
                e->fit_max[class] = now;
        }
        return changed;
}

static inline bool gap_before(uint64_t gap, uint64_t start, const struct va_extent *e) {
        return gap < e->gap || (gap == e->gap && start < e->start);
}

static void gap_link(struct va_space *va, struct va_extent *e, uint64_t gap) {
        struct tree_node *parent = NULL, *n = va->by_gap.root;
        int side = 0;

        e->gap = gap;
        while (n) {
                parent = n;
                tree_prefetch(n);
                if (gap_before(gap, e->start, gap_entry(n))) {
                        side = 0;
                        n = n->child[0];
                } else {
                        side = 1;
                        n = n->child[1];
                }
        }
        tree_insert(&va->by_gap, parent, side, &e->by_gap, fit_update);
}

static void gap_unlink(struct va_space *va, struct va_extent *e) {
        tree_remove(&va->by_gap, &e->by_gap, fit_update);
        e->gap = 0;
}

/* Would `e`, which is linked, stay where it is in the order if its gap were `gap`? */
static bool gap_keeps_place(const struct va_extent *e, uint64_t gap) {
        const struct tree_node *n;

        if (gap > e->gap) {
                n = tree_next(&e->by_gap);
                return !n || gap_before(gap, e->start, gap_entry(n));
        }
        n = tree_prev(&e->by_gap);
        return !n || !gap_before(gap, e->start, gap_entry(n));
}

static void gap_set(struct va_space *va, struct va_extent *e, uint64_t gap) {
        if (gap == e->gap)
                return;
        if (gap > 0 && e->gap > 0 && gap_keeps_place(e, gap)) {
                e->gap = gap;
                tree_refresh(&e->by_gap, fit_update);
                return;
        }
        if (e->gap > 0)
                gap_unlink(va, e);
        if (gap > 0)
                gap_link(va, e, gap);
}

int va_init(struct va_space *va, uint64_t start, uint64_t end) {
        if ((start | end) % VA_PAGE || end <= start || end - start > SIZE_MAX_SPACE)
                return -EINVAL;
        *va = (struct va_space){ .start = start, .end = end };
        va->head.start = start;
        va->last = &va->head;
        tree_insert(&va->by_addr, NULL, 0, &va->head.by_addr, NULL);
        gap_link(va, &va->head, end - start);
        return 0;
}

/* Takes [start, start + size), which lies in the gap of `owner`. */
static void take(struct va_space *va, struct va_extent *owner, struct va_extent *ext, uint64_t start, uint64_t size) {
        uint64_t front = start - end_of(owner), back = owner->gap - front - size;

        tree_prefetch(&owner->by_addr);
        tree_prefetch(&owner->by_gap);
        ext->start = start;
        ext->size = size;
        ext->gap = 0;
        tree_insert_after(&va->by_addr, &owner->by_addr, &ext->by_addr, NULL);
        gap_set(va, owner, front);
        gap_set(va, ext, back);
        va->used += size;
        va->count++;
}

/* The first gap of at least `size` bytes, in the order of by_gap. */
static struct va_extent *first_gap(const struct va_space *va, uint64_t size) {
        struct tree_node *n = va->by_gap.root;
        struct va_extent *found = NULL;

        while (n) {
                struct va_extent *e = gap_entry(n);

                tree_prefetch(n);
                if (e->gap >= size) {
                        found = e;
                        n = n->child[0];
                } else {
                        n = n->child[1];
                }
        }
        return found;
}

static struct va_extent *first_huge_fit(const struct va_space *va, uint64_t size, uint64_t align) {
        struct va_extent *e = first_gap(va, size);

        while (e && fit(e, align) < size) {
                struct tree_node *n = tree_next(&e->by_gap);

                e = n ? gap_entry(n) : NULL;
        }
        return e;
}

static inline bool fits_below(const struct tree_node *n, int class, uint64_t pages) {
        return n && gap_entry(n)->fit_max[class] >= pages;
}

static struct va_extent *first_fit(const struct va_space *va, uint64_t size, int class) {
        uint64_t pages = size >> PAGE_SHIFT;
        struct tree_node *n = va->by_gap.root;

        if (pages >= UINT32_MAX)
                return first_huge_fit(va, size, fit_align[class]);
        if (!fits_below(n, class, pages))
                return NULL;
        for (;;) {
                if (fits_below(n->child[0], class, pages))
                        n = n->child[0];
                else if (fit(gap_entry(n), fit_align[class]) >= size)
                        return gap_entry(n);
                else
                        n = n->child[1];
        }
}

int va_alloc(struct va_space *va, struct va_extent *ext, uint64_t size, uint64_t align) {
        struct va_extent *owner;
        uint64_t start;
        int class = 0;

        if (size == 0 || size % VA_PAGE || align < VA_PAGE || align > VA_ALIGN_MAX || (align & (align - 1)))
                return -EINVAL;
        if (align == VA_PAGE) {
                owner = first_gap(va, size);
        } else {
                while (fit_align[class] < align)
                        class ++;
                align = fit_align[class];
                owner = first_fit(va, size, class);
        }
        if (!owner)
                return VA_E_FULL;
        start = end_of(owner) + lost(owner, align);
        take(va, owner, ext, start, size);
        return 0;
}

/* The last of the head and the extents that starts at or below `addr`, which must not be below va->start. */
static struct va_extent *last_at(const struct va_space *va, uint64_t addr) {
        struct tree_node *n = va->by_addr.root;
        struct va_extent *found = NULL;

        while (n) {
                struct va_extent *e = addr_entry(n);

                if (e->start <= addr) {
                        found = e;
                        n = n->child[1];
                } else {
                        n = n->child[0];
                }
        }
        return found;
}

int va_alloc_at(struct va_space *va, struct va_extent *ext, uint64_t start, uint64_t size) {
        struct va_extent *owner;

        if (size == 0 || (start | size) % VA_PAGE)
                return -EINVAL;
        if (start < va->start || start >= va->end || size > va->end - start)
                return -EINVAL;
        owner = va->last;
        if (start < owner->start || start - owner->start >= owner->size + owner->gap)
                owner = last_at(va, start);
        if (start < end_of(owner) || start - end_of(owner) + size > owner->gap)
                return VA_E_TAKEN;
        take(va, owner, ext, start, size);
        va->last = ext;
        return 0;
}

void va_free(struct va_space *va, struct va_extent *ext) {
        struct va_extent *owner;
        uint64_t gap;

        tree_prefetch(&ext->by_addr);
        if (ext->gap > 0)
                tree_prefetch(&ext->by_gap);
        owner = addr_entry(tree_prev(&ext->by_addr));
        gap = owner->gap + ext->size + ext->gap;
        if (va->last == ext)
                va->last = owner;
        gap_set(va, ext, 0);
        gap_set(va, owner, gap);
        tree_remove(&va->by_addr, &ext->by_addr, NULL);
        va->used -= ext->size;
        va->count--;
}

struct va_extent *va_find(const struct va_space *va, uint64_t addr) {
        struct va_extent *e;

        if (addr < va->start)
                return NULL;
        e = last_at(va, addr);
        return addr - e->start < e->size ? e : NULL;
}

struct va_extent *va_first_from(const struct va_space *va, uint64_t addr) {
        struct va_extent *e = addr < va->start ? NULL : last_at(va, addr);

        if (e && addr - e->start < e->size)
                return e;
        return va_next(e ? e : &va->head);
}

struct va_extent *va_next(const struct va_extent *ext) {
        struct tree_node *n = tree_next(&ext->by_addr);

        return n ? addr_entry(n) : NULL;
}

uint64_t va_largest_gap(const struct va_space *va) {
        struct tree_node *n = tree_last(&va->by_gap);

        return n ? gap_entry(n)->gap : 0;
}

static int check_addresses(const struct va_space *va, long *ret_gaps) {
        uint64_t at = va->start, used = 0, count = 0;
        const struct va_extent *e = &va->head;

        if (tree_first(&va->by_addr) != &va->head.by_addr || va->head.size)
                return -EUCLEAN;
        *ret_gaps = 0;
        for (; e; e = va_next(e)) {
                if (e->start != at || (e->size == 0) != (e == &va->head) || (e->size | e->gap) % VA_PAGE)
                        return -EUCLEAN;
                at = end_of(e) + e->gap;
                used += e->size;
                count += e != &va->head;
                *ret_gaps += e->gap > 0;
        }
        if (at != va->end || used != va->used || count != va->count)
                return -EUCLEAN;
        return tree_check(&va->by_addr) == (long)count + 1 ? 0 : -EUCLEAN;
}

int va_check(const struct va_space *va) {
        const struct va_extent *before = NULL;
        const struct tree_node *n;
        long gaps;
        int r;

        r = check_addresses(va, &gaps);
        if (r < 0)
                return r;
        if (tree_check(&va->by_gap) != gaps)
                return -EUCLEAN;
        for (n = tree_first(&va->by_gap); n; n = tree_next(n)) {
                const struct va_extent *e = gap_entry(n);
                if (e->gap == 0)
                        return -EUCLEAN;
                for (int class = 0; class < VA_FITS; class ++)
                        if (e->fit_max[class] != fit_computed(e, class))
                                return -EUCLEAN;
                if (before && !gap_before(before->gap, before->start, e))
                        return -EUCLEAN;
                before = e;
        }
        return 0;
}
