#include "ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

/* The model is an array: which range, if any, covers each unit. Range k starts at unit k. */
enum { UNITS = 256 };

struct model {
        struct ranges t;
        struct range range[UNITS];
        struct range *owner[UNITS];
};

static struct range *model_find(const struct model *m, uint64_t start, uint64_t end) {
        for (uint64_t i = start; i < end && i < UNITS; i++) {
                if (m->owner[i])
                        return m->owner[i];
        }
        return NULL;
}

static void check_all(const struct model *m) {
        for (uint64_t i = 0; i < UNITS; i++) {
                assert_ptr_equal(ranges_find(&m->t, i, i + 1), m->owner[i]);
                assert_ptr_equal(ranges_find(&m->t, i, UNITS), model_find(m, i, UNITS));
                assert_null(ranges_find(&m->t, i, i));
        }
}

static void own(struct model *m, uint64_t start, uint64_t end, struct range *r) {
        for (uint64_t i = start; i < end; i++)
                m->owner[i] = r;
}

static void add(struct model *m, uint64_t start, uint64_t end) {
        struct range *r = &m->range[start];

        r->start = start;
        r->end = end;
        ranges_insert(&m->t, r);
        own(m, start, end, r);
}

static void drop(struct model *m, struct range *r) {
        ranges_remove(&m->t, r);
        own(m, r->start, r->end, NULL);
}

/* Ends may move in place while the order stays. */
static void shrink(struct model *m, struct range *r) {
        if (r->end - r->start < 2)
                return;
        own(m, r->end - 1, r->end, NULL);
        r->end--;
}

static void random_changes_match_a_model(void **state) {
        static struct model m;

        memset(&m, 0, sizeof(m));
        for (unsigned round = 0; round < 20000; round++) {
                uint64_t start = rnd(UNITS), end = start + 1 + rnd(8);
                struct range *r = model_find(&m, start, end);

                if (end > UNITS)
                        end = UNITS;
                assert_ptr_equal(ranges_find(&m.t, start, end), r);
                if (!r)
                        add(&m, start, end);
                else if (rnd(3))
                        drop(&m, r);
                else
                        shrink(&m, r);
                if (round % 200 == 0)
                        check_all(&m);
        }
        check_all(&m);
}

static unsigned depth(const struct range *r) {
        unsigned left, right;

        if (!r)
                return 0;
        left = depth(r->left);
        right = depth(r->right);
        return 1 + (left > right ? left : right);
}

static void ascending_addresses_do_not_make_a_list(void **state) {
        static struct range range[100000];
        struct ranges t = { 0 };

        for (unsigned i = 0; i < 100000; i++) {
                range[i].start = i * 8192ull;
                range[i].end = range[i].start + 4096;
                ranges_insert(&t, &range[i]);
        }
        assert_true(depth(t.root) < 100); /* 17 at best */
        for (unsigned i = 0; i < 100000; i++)
                ranges_remove(&t, &range[i]);
        assert_true(ranges_empty(&t));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(random_changes_match_a_model),
                cmocka_unit_test(ascending_addresses_do_not_make_a_list),
        };

        seed_random();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
