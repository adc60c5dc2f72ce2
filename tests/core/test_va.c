#include "core/va.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/*
 * The model is an array of the extents in address order. It answers every question by looking at
 * all of them: which gap is the smallest that fits, who has an address, what is taken.
 */
enum { EXTENTS = 600 };

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

struct world {
        struct va_space va;
        struct va_extent extent[EXTENTS];
        struct va_extent *order[EXTENTS];  /* what is taken, by address */
        struct va_extent *unused[EXTENTS]; /* the others */
        unsigned live, limit;
        uint64_t most; /* pages of the largest extent asked for, as a rule */
};

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static struct world *world_new(uint64_t start, uint64_t end, unsigned limit, uint64_t most) {
        struct world *w = malloc(sizeof(*w));

        assert_non_null(w);
        assert_int_equal(va_init(&w->va, start, end), 0);
        w->live = 0;
        w->limit = limit;
        w->most = most;
        for (unsigned i = 0; i < EXTENTS; i++) {
                memset(&w->extent[i], 0xa5, sizeof(w->extent[i])); /* whatever is in it must not matter */
                w->unused[i] = &w->extent[i];
        }
        return w;
}

/* The gap before order[i] (or, with i == live, after the last one). */
static void gap_at(const struct world *w, unsigned i, uint64_t *start, uint64_t *size) {
        *start = i ? w->order[i - 1]->start + w->order[i - 1]->size : w->va.start;
        *size = (i < w->live ? w->order[i]->start : w->va.end) - *start;
}

static uint64_t class_of(uint64_t align) {
        if (align <= 4 * KIB)
                return 4 * KIB;
        if (align <= 64 * KIB)
                return 64 * KIB;
        return align <= 2 * MIB ? 2 * MIB : GIB;
}

static bool model_best_fit(const struct world *w, uint64_t size, uint64_t align, uint64_t *ret_start) {
        uint64_t best = UINT64_MAX, class = class_of(align);

        for (unsigned i = 0; i <= w->live; i++) {
                uint64_t start, gap, front;

                gap_at(w, i, &start, &gap);
                front = (class - start % class) % class;
                if (gap < best && gap >= front && gap - front >= size) {
                        best = gap;
                        *ret_start = start + front;
                }
        }
        return best != UINT64_MAX;
}

static unsigned model_first_from(const struct world *w, uint64_t addr) {
        unsigned i = 0;

        while (i < w->live && w->order[i]->start + (w->order[i]->size - 1) < addr)
                i++;
        return i;
}

static bool model_is_free(const struct world *w, uint64_t start, uint64_t size) {
        unsigned i = model_first_from(w, start);

        return i == w->live || w->order[i]->start >= start + size;
}

static struct va_extent *unused(struct world *w) {
        return w->unused[w->live];
}

static void model_add(struct world *w) {
        struct va_extent *e = w->unused[w->live];
        unsigned i = model_first_from(w, e->start);

        memmove(&w->order[i + 1], &w->order[i], (w->live - i) * sizeof(w->order[0]));
        w->order[i] = e;
        w->live++;
}

static struct va_extent *model_remove(struct world *w, unsigned i) {
        struct va_extent *e = w->order[i];

        w->live--;
        memmove(&w->order[i], &w->order[i + 1], (w->live - i) * sizeof(w->order[0]));
        w->unused[w->live] = e;
        return e;
}

static void check_world(const struct world *w) {
        const struct va_extent *e = va_first_from(&w->va, 0);
        uint64_t used = 0, largest = 0, start, gap;

        assert_int_equal(va_check(&w->va), 0);
        for (unsigned i = 0; i < w->live; i++, e = va_next(e)) {
                assert_ptr_equal(e, w->order[i]);
                used += e->size;
        }
        assert_null(e);
        assert_int_equal(w->va.count, w->live);
        assert_int_equal(w->va.used, used);
        for (unsigned i = 0; i <= w->live; i++) {
                gap_at(w, i, &start, &gap);
                if (gap > largest)
                        largest = gap;
        }
        assert_int_equal(va_largest_gap(&w->va), largest);
}

static void check_lookup(const struct world *w, uint64_t addr) {
        unsigned i = model_first_from(w, addr);
        struct va_extent *from = i < w->live ? w->order[i] : NULL;

        assert_ptr_equal(va_first_from(&w->va, addr), from);
        assert_ptr_equal(va_find(&w->va, addr), from && from->start <= addr ? from : NULL);
}

static uint64_t random_address(const struct world *w) {
        uint64_t start, gap, span = w->va.end - w->va.start;

        gap_at(w, rnd(w->live + 1), &start, &gap);
        switch (rnd(5)) {
        case 0: return start; /* the first byte after an extent */
        case 1: return start - 1;
        case 2: return start + gap;
        case 3: return w->va.start - 5 * VA_PAGE + rnd(span + 10 * VA_PAGE);
        default: return w->va.start + rnd(span);
        }
}

static uint64_t random_align(void) {
        static const uint64_t aligns[] = { 4 * KIB, 4 * KIB, 4 * KIB,   64 * KIB, 64 * KIB, 2 * MIB,
                                           8 * KIB, 1 * GIB, 128 * KIB, 4 * MIB,  2 * MIB,  512 * MIB };

        return aligns[rnd(sizeof(aligns) / sizeof(aligns[0]))];
}

/* Bytes: mostly a few pages, often as much as some gap holds, or nearly, sometimes anything. */
static uint64_t random_size(const struct world *w, uint64_t align) {
        uint64_t start, gap, pages = 0, class = class_of(align);

        gap_at(w, rnd(w->live + 1), &start, &gap);
        switch (rnd(6)) {
        case 0: pages = gap / VA_PAGE + rnd(3) - 1; break;
        case 1: pages = (gap - (class - start % class) % class) / VA_PAGE + rnd(3) - 1; break;
        case 2: pages = 1 + rnd(w->most); break;
        default: pages = 1 + rnd(1 + rnd(w->most));
        }
        if (pages == 0 || pages > (w->va.end - w->va.start) / VA_PAGE * 2)
                pages = 1;
        return pages * VA_PAGE;
}

static void random_alloc(struct world *w) {
        uint64_t align = random_align(), size = random_size(w, align), want;
        struct va_extent *e = unused(w), before = *e;
        int r = va_alloc(&w->va, e, size, align);

        if (!model_best_fit(w, size, align, &want)) {
                assert_int_equal(r, VA_E_FULL);
                assert_memory_equal(e, &before, sizeof(before));
                return;
        }
        assert_int_equal(r, 0);
        assert_int_equal(e->start, want);
        assert_int_equal(e->size, size);
        model_add(w);
}

static void random_alloc_at(struct world *w) {
        uint64_t start = random_address(w) & -VA_PAGE, size = random_size(w, VA_PAGE);
        struct va_extent *e = unused(w), before = *e;
        int r = va_alloc_at(&w->va, e, start, size);

        if (start < w->va.start || start >= w->va.end || size > w->va.end - start)
                assert_int_equal(r, -EINVAL);
        else if (!model_is_free(w, start, size))
                assert_int_equal(r, VA_E_TAKEN);
        else
                assert_int_equal(r, 0);
        if (r) {
                assert_memory_equal(e, &before, sizeof(before));
                return;
        }
        assert_int_equal(e->start, start);
        assert_int_equal(e->size, size);
        model_add(w);
}

static void random_free(struct world *w) {
        unsigned i = rnd(w->live);
        uint64_t start = w->order[i]->start, size = w->order[i]->size;
        struct va_extent *e = model_remove(w, i);

        va_free(&w->va, e);
        assert_int_equal(e->start, start);
        assert_int_equal(e->size, size);
        if (rnd(4) == 0) { /* and back again */
                assert_int_equal(va_alloc_at(&w->va, e, e->start, e->size), 0);
                model_add(w);
        }
}

static void random_step(struct world *w, unsigned keep) {
        if (w->live && (rnd(100) >= keep || w->live == w->limit))
                random_free(w);
        else if (rnd(4) == 0)
                random_alloc_at(w);
        else
                random_alloc(w);
}

static void random_walk(struct world *w, unsigned steps, unsigned check_every) {
        unsigned keep = 50;

        for (unsigned i = 0; i < steps; i++) {
                if (i % 1000 == 0)
                        keep = 35 + rnd(50); /* phases in which the space fills, and in which it empties */
                random_step(w, keep);
                check_lookup(w, random_address(w));
                if (i % check_every == 0)
                        check_world(w);
        }
        while (w->live)
                va_free(&w->va, model_remove(w, rnd(w->live)));
        check_world(w);
        assert_int_equal(va_largest_gap(&w->va), w->va.end - w->va.start);
        free(w);
}

static void test_init(void **state) {
        struct va_space va;

        memset(&va, 0xa5, sizeof(va));
        assert_int_equal(va_init(&va, 4096, 4096), -EINVAL);
        assert_int_equal(va_init(&va, 8192, 4096), -EINVAL);
        assert_int_equal(va_init(&va, 1, 4096), -EINVAL);
        assert_int_equal(va_init(&va, 0, 4097), -EINVAL);
        assert_int_equal(va_init(&va, 0, (1ull << 57) + 4096), -EINVAL);
        assert_int_equal(va.used, 0xa5a5a5a5a5a5a5a5ull);
        assert_int_equal(va_init(&va, 4096, (1ull << 57) + 4096), 0);
        assert_int_equal(va_check(&va), 0);
        assert_int_equal(va_largest_gap(&va), 1ull << 57);
        assert_null(va_first_from(&va, 0));
        assert_null(va_find(&va, 4096));
}

static void test_bad_arguments(void **state) {
        static const uint64_t size_align[][2] = { { 0, 4096 },          { 4095, 4096 },    { 4097, 4096 },
                                                  { 4096, 0 },          { 4096, 2048 },    { 4096, 12288 },
                                                  { 4096, 1 },          { 4096, 2 * GIB }, { 1ull, 65536 },
                                                  { -1ull, 1ull << 63 } };
        static const uint64_t start_size[][2] = {
                { 65536, 0 },        { 65537, 4096 },     { 65536, 4095 },    { 61440, 4096 },
                { 0, 4096 },         { 131072, 4096 },    { 126976, 8192 },   { 65536, 69632 },
                { 65536, -4096ull }, { 69632, -4096ull }, { -4096ull, 4096 }, { -4096ull, -4096ull },
        };
        struct va_space va;
        struct va_extent e = { 0 }, zero = { 0 };

        assert_int_equal(va_init(&va, 65536, 131072), 0);
        for (unsigned i = 0; i < sizeof(size_align) / sizeof(size_align[0]); i++)
                assert_int_equal(va_alloc(&va, &e, size_align[i][0], size_align[i][1]), -EINVAL);
        for (unsigned i = 0; i < sizeof(start_size) / sizeof(start_size[0]); i++)
                assert_int_equal(va_alloc_at(&va, &e, start_size[i][0], start_size[i][1]), -EINVAL);
        assert_int_equal(va_alloc(&va, &e, 69632, 4096), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &e, -4096ull, GIB), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &e, 4096, 2 * MIB), VA_E_FULL);
        assert_memory_equal(&e, &zero, sizeof(e));
        assert_int_equal(va_check(&va), 0);
        assert_int_equal(va.count, 0);
}

static void test_whole_space(void **state) {
        struct va_space va;
        struct va_extent all, more;

        assert_int_equal(va_init(&va, 4096, 4096 + 5 * MIB), 0);
        assert_int_equal(va_alloc(&va, &all, 5 * MIB, 4096), 0);
        assert_int_equal(all.start, 4096);
        assert_int_equal(va_largest_gap(&va), 0);
        assert_int_equal(va_alloc(&va, &more, 4096, 4096), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &more, 4096, 65536), VA_E_FULL);
        assert_int_equal(va_alloc_at(&va, &more, 4096, 4096), VA_E_TAKEN);
        assert_int_equal(va_check(&va), 0);
        assert_ptr_equal(va_find(&va, 4096 + 5 * MIB - 1), &all);
        assert_null(va_find(&va, 4096 + 5 * MIB));
        assert_null(va_find(&va, 4095));
        va_free(&va, &all);
        assert_int_equal(va_check(&va), 0);
        assert_int_equal(va_largest_gap(&va), 5 * MIB);
        assert_int_equal(va.used, 0);
}

/* Gaps of 3, 2, 2 and 9 pages: what each size gets. */
static void test_best_fit(void **state) {
        static const struct { uint64_t page, pages; } taken[] = { { 3, 1 }, { 6, 1 }, { 9, 1 } };
        struct va_space va;
        struct va_extent e[3], n[4];

        assert_int_equal(va_init(&va, 0, 19 * VA_PAGE), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(va_alloc_at(&va, &e[i], taken[i].page * VA_PAGE, VA_PAGE), 0);
        assert_int_equal(va_alloc(&va, &n[0], 2 * VA_PAGE, VA_PAGE), 0);
        assert_int_equal(n[0].start, 4 * VA_PAGE); /* the lower one of two that fit equally well */
        assert_int_equal(va_alloc(&va, &n[1], 1 * VA_PAGE, VA_PAGE), 0);
        assert_int_equal(n[1].start, 7 * VA_PAGE); /* the smallest that fits, although one lies lower */
        assert_int_equal(va_alloc(&va, &n[2], 1 * VA_PAGE, VA_PAGE), 0);
        assert_int_equal(n[2].start, 8 * VA_PAGE); /* its rest */
        assert_int_equal(va_alloc(&va, &n[3], 4 * VA_PAGE, VA_PAGE), 0);
        assert_int_equal(n[3].start, 10 * VA_PAGE);
        assert_int_equal(va_check(&va), 0);
}

/* 5 MiB aligned to 2 MiB fit into exactly 5 MiB after alignment, and not into a page less. */
static void test_alignment_is_exact(void **state) {
        struct va_space va;
        struct va_extent e, wall;

        assert_int_equal(va_init(&va, 2 * MIB - 4 * VA_PAGE, 100 * MIB), 0);
        assert_int_equal(va_alloc_at(&va, &wall, 7 * MIB - VA_PAGE, 93 * MIB + VA_PAGE), 0);
        assert_int_equal(va_alloc(&va, &e, 5 * MIB, 2 * MIB), VA_E_FULL);
        va_free(&va, &wall);
        assert_int_equal(va_alloc_at(&va, &wall, 7 * MIB, 93 * MIB), 0);
        assert_int_equal(va_alloc(&va, &e, 5 * MIB + VA_PAGE, 2 * MIB), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &e, 5 * MIB, 2 * MIB), 0);
        assert_int_equal(e.start, 2 * MIB);
        assert_int_equal(va_largest_gap(&va), 4 * VA_PAGE); /* the front part is free still */
        assert_int_equal(va_check(&va), 0);
}

/* A small aligned gap is taken before a larger one that comes first, or that is large but ill placed. */
static void test_aligned_best_fit(void **state) {
        struct va_space va;
        struct va_extent wall[4], e[2];

        assert_int_equal(va_init(&va, 0, 64 * MIB), 0);
        /* Gaps: [0, 6M), [7M, 10M - 4K), [12M, 14M), [15M, 15M + 64K) */
        assert_int_equal(va_alloc_at(&va, &wall[0], 6 * MIB, 1 * MIB), 0);
        assert_int_equal(va_alloc_at(&va, &wall[1], 10 * MIB - VA_PAGE, 2 * MIB + VA_PAGE), 0);
        assert_int_equal(va_alloc_at(&va, &wall[2], 14 * MIB, 1 * MIB), 0);
        assert_int_equal(va_alloc_at(&va, &wall[3], 15 * MIB + 64 * KIB, 49 * MIB - 64 * KIB), 0);
        assert_int_equal(va_alloc(&va, &e[0], 2 * MIB, 2 * MIB), 0);
        assert_int_equal(e[0].start, 12 * MIB);
        assert_int_equal(va_alloc(&va, &e[1], 2 * MIB, 2 * MIB), 0);
        assert_int_equal(e[1].start, 0); /* 7M..10M - 4K is smaller and has no aligned 2M */
        assert_int_equal(va_check(&va), 0);
}

static void test_free_and_put_back(void **state) {
        struct va_space va;
        struct va_extent e[3], thief;

        assert_int_equal(va_init(&va, 0, 64 * VA_PAGE), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(va_alloc(&va, &e[i], 4 * VA_PAGE, VA_PAGE), 0);
        va_free(&va, &e[1]);
        assert_int_equal(va_alloc_at(&va, &e[1], e[1].start, e[1].size), 0);
        assert_int_equal(va_check(&va), 0);
        va_free(&va, &e[1]);
        assert_int_equal(va_alloc(&va, &thief, VA_PAGE, VA_PAGE), 0);
        assert_int_equal(thief.start, e[1].start);
        assert_int_equal(va_alloc_at(&va, &e[1], e[1].start, e[1].size), VA_E_TAKEN);
        assert_int_equal(va_alloc_at(&va, &e[1], e[1].start - VA_PAGE, VA_PAGE), VA_E_TAKEN);
        assert_int_equal(va_alloc_at(&va, &e[1], e[1].start + VA_PAGE, 4 * VA_PAGE), VA_E_TAKEN);
        assert_int_equal(va_alloc_at(&va, &e[1], thief.start + VA_PAGE, 3 * VA_PAGE), 0);
        assert_int_equal(va_check(&va), 0);
}

/* Where the summaries of the gaps end. */
static void test_beyond_16_tib(void **state) {
        struct va_space va;
        struct va_extent wall[3], e[4];
        uint64_t most = (uint64_t)UINT32_MAX * VA_PAGE, base;

        assert_int_equal(va_init(&va, VA_PAGE, 1ull << 56), 0);
        /* Gaps that fit the most that a summary counts, a page more, and 20 TiB less a page; the rest is larger. */
        assert_int_equal(va_alloc_at(&va, &wall[0], GIB + most, GIB + 2 * VA_PAGE), 0);
        base = (wall[0].start + wall[0].size + GIB - 1) & -GIB;
        assert_int_equal(va_alloc_at(&va, &wall[1], base + most + VA_PAGE, GIB), 0);
        assert_int_equal(va_alloc(&va, &e[0], most, GIB), 0);
        assert_int_equal(e[0].start, GIB);
        base = (wall[1].start + wall[1].size + GIB - 1) & -GIB;
        assert_int_equal(va_alloc_at(&va, &wall[2], base + 20 * TIB - VA_PAGE, VA_PAGE), 0);
        assert_int_equal(va_alloc(&va, &e[1], 20 * TIB, GIB), 0);
        assert_true(e[1].start > wall[2].start);
        assert_int_equal(va_alloc(&va, &e[2], 20 * TIB - VA_PAGE, GIB), 0);
        assert_int_equal(e[2].start, base);
        assert_int_equal(va_alloc(&va, &e[3], most + VA_PAGE, 2 * MIB), 0);
        assert_true(e[3].start > wall[0].start && e[3].start < wall[1].start);
        assert_int_equal(va_check(&va), 0);
}

static void test_top_of_addresses(void **state) {
        struct va_space va;
        struct va_extent e;

        assert_int_equal(va_init(&va, -3 * MIB, -VA_PAGE), 0);
        assert_int_equal(va_alloc(&va, &e, VA_PAGE, GIB), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &e, 2 * MIB, 2 * MIB), VA_E_FULL);
        assert_int_equal(va_alloc(&va, &e, 2 * MIB - VA_PAGE, 2 * MIB), 0);
        assert_int_equal(e.start, -2 * MIB);
        assert_ptr_equal(va_first_from(&va, -VA_PAGE - 1), &e);
        assert_null(va_first_from(&va, -VA_PAGE));
        assert_null(va_first_from(&va, UINT64_MAX));
        assert_int_equal(va_check(&va), 0);
}

static void test_check_sees_damage(void **state) {
        struct va_space va;
        struct va_extent e[8];
        uint64_t *field[] = { &va.used, &va.count, &va.end, &e[1].gap, &e[1].size, &e[2].start, &e[7].gap };

        assert_int_equal(va_init(&va, 0, GIB), 0);
        for (int i = 0; i < 8; i++)
                assert_int_equal(va_alloc_at(&va, &e[i], (i + 1) * MIB, (i + 1) * 64 * KIB), 0);
        assert_int_equal(va_check(&va), 0);
        for (unsigned i = 0; i < sizeof(field) / sizeof(field[0]); i++) {
                *field[i] += VA_PAGE;
                assert_int_equal(va_check(&va), -EUCLEAN);
                *field[i] -= VA_PAGE;
        }
        for (int class = 0; class < VA_FITS; class ++) {
                e[3].fit_max[class]++;
                assert_int_equal(va_check(&va), -EUCLEAN);
                e[3].fit_max[class]--;
        }
        assert_int_equal(va_check(&va), 0);
}

static void test_random_small(void **state) {
        random_walk(world_new(7 * VA_PAGE, 7 * VA_PAGE + MIB, 60, 20), 150000, 1);
        random_walk(world_new(2 * MIB - 9 * VA_PAGE, 14 * MIB, 40, 700), 100000, 1);
        random_walk(world_new(GIB - 3 * MIB, 6 * GIB + VA_PAGE, 40, GIB / VA_PAGE), 100000, 1);
}

static void test_random_large(void **state) {
        random_walk(world_new(0x100000000000, 0x100000000000 + 256 * MIB, EXTENTS, 200), 150000, 50);
        random_walk(world_new(GIB + VA_PAGE, 1 * TIB, EXTENTS, 2 * GIB / VA_PAGE), 100000, 50);
}

static void test_random_huge(void **state) {
        random_walk(world_new(VA_PAGE, 1ull << 57, 200, 50 * TIB / VA_PAGE), 50000, 5);
        random_walk(world_new(-(1ull << 50), -VA_PAGE, 100, 40 * TIB / VA_PAGE), 50000, 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_init),
                cmocka_unit_test(test_bad_arguments),
                cmocka_unit_test(test_whole_space),
                cmocka_unit_test(test_best_fit),
                cmocka_unit_test(test_alignment_is_exact),
                cmocka_unit_test(test_aligned_best_fit),
                cmocka_unit_test(test_free_and_put_back),
                cmocka_unit_test(test_beyond_16_tib),
                cmocka_unit_test(test_top_of_addresses),
                cmocka_unit_test(test_check_sees_damage),
                cmocka_unit_test(test_random_small),
                cmocka_unit_test(test_random_large),
                cmocka_unit_test(test_random_huge),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
        random_state |= 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
