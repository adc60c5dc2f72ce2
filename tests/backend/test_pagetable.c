#include "backend/soft/pagetable.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"

/* The model is one entry per page, in windows that lie across the edges of leaves and directories. */
enum { PAGES = 1200, WINDOWS = 5 };

static const uint64_t window_base[WINDOWS] = {
        0x10000,
        (1ull << 21) * 37 - 600 * PAGETABLE_PAGE,
        (1ull << 30) * 9 - 300 * PAGETABLE_PAGE,
        (1ull << 39) * 80 - 700 * PAGETABLE_PAGE,
        PAGETABLE_END - PAGES *PAGETABLE_PAGE,
};

struct model_page {
        bool valid;
        uint32_t slot;
        uint64_t offset;
        struct map_attrs attrs;
};

static struct model_page model[WINDOWS][PAGES];
static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static bool same_attrs(const struct map_attrs *a, const struct map_attrs *b) {
        return a->access == b->access && a->pat == b->pat && a->kind == b->kind;
}

static struct map_attrs random_attrs(void) {
        static const uint8_t access[] = { 0, 1, 3 };

        return (struct map_attrs){ .access = access[rnd(3)], .pat = (uint8_t)rnd(2), .kind = (uint16_t)rnd(2) };
}

/* The gap from `va` in page `i` of the window; what lies between windows shows nothing. */
static void check_gap(const struct pagetable *pt, int w, unsigned i, uint64_t va, uint64_t max) {
        uint64_t gap = pagetable_gap(pt, va, max), size = 0;

        for (; i < PAGES && !model[w][i].valid && size < max; i++)
                size += PAGETABLE_PAGE - (va + size) % PAGETABLE_PAGE;
        if (i == PAGES && size < max)
                assert_in_range(gap, size, max);
        else
                assert_int_equal(gap, size < max ? size : max);
}

static void check_page(const struct pagetable *pt, int w, unsigned i) {
        uint64_t in_page = rnd(PAGETABLE_PAGE), max = 1 + rnd(40 * PAGETABLE_PAGE);
        uint64_t va = window_base[w] + i * PAGETABLE_PAGE + in_page, size;
        const struct model_page *first = &model[w][i];
        struct pte pte;

        check_gap(pt, w, i, va, max);
        size = pagetable_run(pt, va, max, &pte);
        assert_int_equal(size > 0, first->valid);
        if (!first->valid)
                return;
        assert_int_equal(pte.offset, first->offset + in_page);
        assert_int_equal(pte.slot, first->slot);
        assert_true(same_attrs(&pte.attrs, &first->attrs));
        assert_true(size <= max);
        assert_true(size == max || (in_page + size) % PAGETABLE_PAGE == 0);
        for (unsigned k = 1; k * PAGETABLE_PAGE < in_page + size; k++) {
                assert_true(i + k < PAGES && first[k].valid);
                assert_int_equal(first[k].slot, first->slot);
                assert_int_equal(first[k].offset, first->offset + k * PAGETABLE_PAGE);
                assert_true(same_attrs(&first[k].attrs, &first->attrs));
        }
}

static void random_step(struct pagetable *pt) {
        int w = (int)rnd(WINDOWS);
        unsigned at = (unsigned)rnd(PAGES), left = PAGES - at, n = 1 + (unsigned)rnd(rnd(4) && left > 20 ? 20 : left);
        struct map_attrs attrs = random_attrs();
        uint64_t va = window_base[w] + at * PAGETABLE_PAGE, size = n * PAGETABLE_PAGE;
        uint64_t offset = rnd(1u << 20) * PAGETABLE_PAGE;
        uint32_t slot = (uint32_t)rnd(3) * 500000;

        switch (rnd(3)) {
        case 0:
                assert_int_equal(pagetable_reserve(pt, va, size), 0);
                pagetable_set(pt, va, size, slot, offset, attrs);
                for (unsigned i = 0; i < n; i++)
                        model[w][at + i] = (struct model_page){ true, slot, offset + i * PAGETABLE_PAGE, attrs };
                break;
        case 1:
                pagetable_clear(pt, va, size);
                memset(&model[w][at], 0, n * sizeof(model[w][at]));
                break;
        default:
                pagetable_protect(pt, va, size, attrs);
                for (unsigned i = at; i < at + n; i++)
                        if (model[w][i].valid)
                                model[w][i].attrs = attrs;
        }
}

static void test_random_against_model(void **state) {
        struct pagetable pt = { 0 };
        struct pte pte;

        memset(model, 0, sizeof(model));
        for (int round = 0; round < 3000; round++) {
                random_step(&pt);
                for (int i = 0; i < 20; i++)
                        check_page(&pt, (int)rnd(WINDOWS), (unsigned)rnd(PAGES));
                if (round % 500 == 0)
                        for (int w = 0; w < WINDOWS; w++)
                                for (unsigned i = 0; i < PAGES; i++)
                                        check_page(&pt, w, i);
        }
        /* all of the address space at once */
        pagetable_clear(&pt, 0, PAGETABLE_END);
        for (int w = 0; w < WINDOWS; w++)
                for (unsigned i = 0; i < PAGES; i++)
                        assert_int_equal(pagetable_run(&pt, window_base[w] + i * PAGETABLE_PAGE, 1, &pte), 0);
        pagetable_fini(&pt);
        assert_null(pt.root);
}

static void test_nothing_beyond_the_end(void **state) {
        struct pagetable pt = { 0 };
        struct map_attrs attrs = { .access = 3 };
        struct pte pte;

        assert_int_equal(pagetable_run(&pt, 0, 8, &pte), 0);
        assert_int_equal(pagetable_reserve(&pt, 0, PAGETABLE_PAGE), 0);
        pagetable_set(&pt, 0, PAGETABLE_PAGE, 1, 0, attrs);
        assert_int_equal(pagetable_run(&pt, 0, 8, &pte), 8);
        assert_int_equal(pagetable_run(&pt, PAGETABLE_END, 8, &pte), 0);
        assert_int_equal(pagetable_run(&pt, UINT64_MAX - 7, 8, &pte), 0);
        assert_int_equal(pagetable_gap(&pt, 0, 8), 0);
        assert_int_equal(pagetable_gap(&pt, UINT64_MAX - 7, 8), 8);
        assert_int_equal(pagetable_gap(&pt, PAGETABLE_PAGE, UINT64_MAX), PAGETABLE_END - PAGETABLE_PAGE);
        pagetable_clear(&pt, PAGETABLE_END - PAGETABLE_PAGE, 64 * PAGETABLE_PAGE);
        assert_int_equal(pagetable_run(&pt, 0, 8, &pte), 8);
        pagetable_fini(&pt);
}

static void test_runs_are_long(void **state) {
        struct pagetable pt = { 0 };
        struct map_attrs attrs = { .access = 1 };
        struct pte pte;

        assert_int_equal(pagetable_reserve(&pt, 1ull << 21, 1ull << 20), 0);
        pagetable_set(&pt, 1ull << 21, 1ull << 20, 3, 1ull << 40, attrs);
        assert_int_equal(pagetable_run(&pt, 1ull << 21, 1ull << 30, &pte), 1ull << 20);
        assert_int_equal(pte.offset, 1ull << 40);
        pagetable_fini(&pt);
}

static void test_reserve_fails_at_each_allocation(void **state) {
        const uint64_t va = (1ull << 39) - (1ull << 22), size = 1ull << 23;
        struct map_attrs attrs = { .access = 3 };
        struct pte pte;
        int r = -ENOMEM;

        for (unsigned long nth = 1; r < 0; nth++) {
                struct pagetable pt = { 0 };

                alloc_fail_at(nth);
                r = pagetable_reserve(&pt, va, size);
                assert_int_equal(r, alloc_fail_hit() ? -ENOMEM : 0);
                alloc_fail_off();
                for (uint64_t at = va; at < va + size; at += PAGETABLE_PAGE)
                        assert_int_equal(pagetable_run(&pt, at, 1, &pte), 0);
                assert_int_equal(pagetable_reserve(&pt, va, size), 0);
                /* what was made once stays */
                pagetable_clear(&pt, va, size);
                alloc_fail_at(1);
                assert_int_equal(pagetable_reserve(&pt, va, size), 0);
                alloc_fail_off();
                pagetable_set(&pt, va, size, 0, 0, attrs);
                assert_int_equal(pagetable_run(&pt, va + size - 8, 8, &pte), 8);
                pagetable_fini(&pt);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_against_model),
                cmocka_unit_test(test_nothing_beyond_the_end),
                cmocka_unit_test(test_runs_are_long),
                cmocka_unit_test(test_reserve_fails_at_each_allocation),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        random_state = random_state * 2 + 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
