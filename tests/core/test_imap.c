#include "core/imap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"

/* The model is one value per address, for addresses so few that neighbours meet all the time. */
enum { ADDRESSES = 96 };

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static void check_model(const struct imap *m, const uint64_t *model) {
        const struct imap_entry *e = imap_first_from(m, 0);

        assert_int_equal(imap_check(m), 0);
        for (uint64_t a = 0; a < ADDRESSES; a++) {
                struct imap_entry *first = imap_first_from(m, a);

                assert_int_equal(imap_get(m, a), model[a]);
                if (e && e->end <= a)
                        e = imap_next(e);
                assert_ptr_equal(first, e);
        }
        assert_null(imap_first_from(m, ADDRESSES));
}

static void model_set(uint64_t *model, uint64_t start, uint64_t end, uint64_t value) {
        for (; start < end; start++)
                model[start] = value;
}

static void expect(const struct imap *m, const uint64_t (*want)[3], unsigned count) {
        const struct imap_entry *e = imap_first_from(m, 0);

        assert_int_equal(imap_check(m), 0);
        assert_int_equal(m->count, count);
        for (unsigned i = 0; i < count; i++, e = imap_next(e)) {
                assert_non_null(e);
                assert_int_equal(e->start, want[i][0]);
                assert_int_equal(e->end, want[i][1]);
                assert_int_equal(e->value, want[i][2]);
        }
        assert_null(e);
}

#define EXPECT(m, ...)                                                                                                 \
        do {                                                                                                           \
                static const uint64_t want_[][3] = { __VA_ARGS__ };                                                    \
                expect(m, want_, sizeof(want_) / sizeof(want_[0]));                                                    \
        } while (0)

static void test_empty(void **state) {
        struct imap m;

        imap_init(&m);
        assert_int_equal(imap_get(&m, 0), 0);
        assert_null(imap_first_from(&m, 0));
        assert_int_equal(imap_set(&m, 0, UINT64_MAX, 0), 0);
        assert_int_equal(m.count, 0);
        assert_int_equal(imap_check(&m), 0);
        imap_clear(&m);
}

static void test_bad_ranges(void **state) {
        struct imap m;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 5, 5, 1), -EINVAL);
        assert_int_equal(imap_set(&m, 6, 5, 1), -EINVAL);
        assert_int_equal(m.count, 0);
        imap_clear(&m);
}

static void test_split_and_merge(void **state) {
        struct imap m;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 10, 50, 1), 0);
        assert_int_equal(imap_set(&m, 20, 30, 2), 0);
        EXPECT(&m, { 10, 20, 1 }, { 20, 30, 2 }, { 30, 50, 1 });
        assert_int_equal(imap_set(&m, 25, 35, 3), 0);
        EXPECT(&m, { 10, 20, 1 }, { 20, 25, 2 }, { 25, 35, 3 }, { 35, 50, 1 });
        assert_int_equal(imap_set(&m, 20, 35, 1), 0);
        EXPECT(&m, { 10, 50, 1 });
        assert_int_equal(imap_set(&m, 20, 40, 0), 0);
        EXPECT(&m, { 10, 20, 1 }, { 40, 50, 1 });
        assert_int_equal(imap_set(&m, 20, 25, 2), 0);
        assert_int_equal(imap_set(&m, 5, 45, 2), 0);
        EXPECT(&m, { 5, 45, 2 }, { 45, 50, 1 });
        assert_int_equal(imap_set(&m, 0, 60, 0), 0);
        assert_int_equal(m.count, 0);
        imap_clear(&m);
}

static void test_same_value_again(void **state) {
        struct imap m;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 10, 50, 7), 0);
        assert_int_equal(imap_set(&m, 20, 30, 7), 0);
        EXPECT(&m, { 10, 50, 7 });
        assert_int_equal(imap_set(&m, 50, 60, 7), 0);
        EXPECT(&m, { 10, 60, 7 });
        assert_int_equal(imap_set(&m, 0, 10, 7), 0);
        EXPECT(&m, { 0, 60, 7 });
        assert_int_equal(imap_set(&m, 61, 70, 7), 0);
        EXPECT(&m, { 0, 60, 7 }, { 61, 70, 7 });
        imap_clear(&m);
        assert_int_equal(m.count, 0);
        assert_null(m.tree.root);
}

static void test_ends_of_the_world(void **state) {
        struct imap m;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 0, UINT64_MAX, 1), 0);
        assert_int_equal(imap_set(&m, 0, 1, 2), 0);
        assert_int_equal(imap_set(&m, UINT64_MAX - 1, UINT64_MAX, 3), 0);
        EXPECT(&m, { 0, 1, 2 }, { 1, UINT64_MAX - 1, 1 }, { UINT64_MAX - 1, UINT64_MAX, 3 });
        assert_int_equal(imap_get(&m, UINT64_MAX), 0);
        assert_int_equal(imap_get(&m, UINT64_MAX - 1), 3);
        assert_null(imap_first_from(&m, UINT64_MAX));
        imap_clear(&m);
}

static void test_spare_fails(void **state) {
        struct imap m;
        struct imap_spare spare = { { (void *)1, (void *)2 } };

        imap_init(&m);
        assert_int_equal(imap_set(&m, 10, 20, 1), 0);
        for (unsigned long n = 1; n <= 2; n++) {
                alloc_fail_at(n);
                assert_int_equal(imap_spare_get(&spare), -ENOMEM);
                assert_true(alloc_fail_hit());
                assert_ptr_equal(spare.entry[0], (void *)1);
                assert_ptr_equal(spare.entry[1], (void *)2);
                alloc_fail_at(n);
                assert_int_equal(imap_set(&m, 0, 100, 2), -ENOMEM);
                alloc_fail_off();
                EXPECT(&m, { 10, 20, 1 });
        }
        imap_clear(&m);
}

/* With its spare in hand a change takes no allocation, and two entries are enough for any change. */
static void test_spare_is_enough(void **state) {
        struct imap m;
        struct imap_spare spare;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 10, 50, 1), 0);
        assert_int_equal(imap_spare_get(&spare), 0);
        alloc_fail_at(1);
        imap_set_with(&m, &spare, 20, 30, 2);
        assert_false(alloc_fail_hit());
        alloc_fail_off();
        assert_null(spare.entry[0]);
        assert_null(spare.entry[1]);
        EXPECT(&m, { 10, 20, 1 }, { 20, 30, 2 }, { 30, 50, 1 });
        imap_spare_put(&spare);

        assert_int_equal(imap_spare_get(&spare), 0);
        imap_set_with(&m, &spare, 15, 18, 0);
        EXPECT(&m, { 10, 15, 1 }, { 18, 20, 1 }, { 20, 30, 2 }, { 30, 50, 1 });
        assert_true(!spare.entry[0] != !spare.entry[1]);
        /* What is left of a spare is enough for a change that splits nothing. */
        imap_set_with(&m, &spare, 0, 100, 0);
        assert_true(!spare.entry[0] != !spare.entry[1]);
        imap_spare_put(&spare);
        imap_spare_put(&spare);
        imap_clear(&m);
}

static void test_check_sees_damage(void **state) {
        struct imap m;
        struct imap_entry *e;

        imap_init(&m);
        assert_int_equal(imap_set(&m, 10, 20, 1), 0);
        assert_int_equal(imap_set(&m, 20, 30, 2), 0);
        e = imap_first_from(&m, 20);
        e->value = 1;
        assert_int_equal(imap_check(&m), -EUCLEAN);
        e->value = 0;
        assert_int_equal(imap_check(&m), -EUCLEAN);
        e->value = 2;
        e->start = 19;
        assert_int_equal(imap_check(&m), -EUCLEAN);
        e->start = 20;
        m.count++;
        assert_int_equal(imap_check(&m), -EUCLEAN);
        m.count--;
        assert_int_equal(imap_check(&m), 0);
        imap_clear(&m);
}

static void random_step(struct imap *m, uint64_t *model) {
        uint64_t start = rnd(ADDRESSES), end = start + 1 + rnd(ADDRESSES - start);
        uint64_t value = rnd(4); /* few values, so that neighbours often are equal */

        if (end - start > 12 && rnd(4))
                end = start + 1 + rnd(12);
        if (rnd(10) == 0) {
                alloc_fail_at(1 + rnd(2));
                assert_int_equal(imap_set(m, start, end, value), -ENOMEM);
                alloc_fail_off();
                return;
        }
        assert_int_equal(imap_set(m, start, end, value), 0);
        model_set(model, start, end, value);
}

static void test_random(void **state) {
        uint64_t model[ADDRESSES] = { 0 };
        struct imap m;

        imap_init(&m);
        for (int i = 0; i < 200000; i++) {
                random_step(&m, model);
                check_model(&m, model);
        }
        imap_clear(&m);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_bad_ranges),
                cmocka_unit_test(test_split_and_merge),
                cmocka_unit_test(test_same_value_again),
                cmocka_unit_test(test_ends_of_the_world),
                cmocka_unit_test(test_spare_fails),
                cmocka_unit_test(test_spare_is_enough),
                cmocka_unit_test(test_check_sees_damage),
                cmocka_unit_test(test_random),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
        random_state |= 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
