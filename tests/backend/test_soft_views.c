#include "backend/soft/views.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"

/* The model is a row of cells; a range is an address in `ranges`, and never used. */
enum { CELLS = 200, CELL = 0x1000, IDS = 64, STEPS = 20000 };

static struct {
        int id; /* 0: nothing is seen */
        bool write;
} cells[CELLS];
static char ranges[IDS];
static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static struct device_range *range_of(int id) {
        return (struct device_range *)(void *)&ranges[id];
}

static void check(const struct soft_views *v) {
        for (int i = 0; i < CELLS; i++) {
                const struct soft_view *first = views_find(v, (uint64_t)i * CELL);
                const struct soft_view *last = views_find(v, (uint64_t)(i + 1) * CELL - 1);

                assert_ptr_equal(first, last);
                assert_int_equal(first != NULL, cells[i].id != 0);
                if (!first)
                        continue;
                assert_ptr_equal(first->range, range_of(cells[i].id));
                assert_int_equal(first->write, cells[i].write);
        }
}

static void set(struct soft_views *v, int id) {
        int first = (int)rnd(CELLS), count = 1 + (int)rnd(rnd(4) ? 4 : 40);
        struct soft_view view = { .range = range_of(id), .write = rnd(2) };
        bool again = false, taken = false;

        for (int i = 0; i < CELLS; i++)
                again |= cells[i].id == id;
        if (again) { /* at its address, with another access */
                for (first = 0; cells[first].id != id;)
                        first++;
                for (count = 1; first + count < CELLS && cells[first + count].id == id;)
                        count++;
        }
        count = first + count < CELLS ? count : CELLS - first;
        for (int i = first; i < first + count; i++)
                taken |= cells[i].id != 0 && cells[i].id != id;
        view.start = (uint64_t)first * CELL;
        view.end = (uint64_t)(first + count) * CELL;
        assert_int_equal(views_set(v, &view), taken ? -EEXIST : 0);
        for (int i = first; !taken && i < first + count; i++) {
                cells[i].id = id;
                cells[i].write = view.write;
        }
}

static void test_random_against_model(void **state) {
        struct soft_views v = { 0 };

        for (int step = 0; step < STEPS; step++) {
                int id = 1 + (int)rnd(IDS - 1);

                if (rnd(3) == 0) {
                        views_remove(&v, range_of(id));
                        for (int i = 0; i < CELLS; i++)
                                if (cells[i].id == id)
                                        cells[i].id = 0;
                } else {
                        set(&v, id);
                }
                if (step % 10 == 0)
                        check(&v);
        }
        assert_null(views_find(&v, UINT64_MAX));
        views_fini(&v);
        assert_null(views_find(&v, 0));
}

static void test_no_memory(void **state) {
        struct soft_views v = { 0 };
        struct soft_view view = { .range = range_of(1), .start = CELL, .end = 2 * CELL };

        alloc_fail_at(1);
        assert_int_equal(views_set(&v, &view), -ENOMEM);
        alloc_fail_off();
        assert_null(views_find(&v, CELL));
        for (int id = 1; id <= 20; id++) {
                view = (struct soft_view){ range_of(id), (uint64_t)id * CELL, (uint64_t)(id + 1) * CELL, true };
                assert_int_equal(views_set(&v, &view), 0);
                for (int k = 1; k <= id; k++)
                        assert_ptr_equal(views_find(&v, (uint64_t)k * CELL)->range, range_of(k));
        }
        views_fini(&v);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_against_model),
                cmocka_unit_test(test_no_memory),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        random_state = random_state * 2 + 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
