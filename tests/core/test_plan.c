/*
 * Directed cases of the planner and the vmap: each shape a step can have, each refusal, each allocation
 * that can fail, and plans of several operations taken back or kept.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/vmap.h"

static const struct map_attrs rw = { .access = 3 }, ro = { .access = 1 };

struct fixture {
        struct vmap m;
        struct plan plan;
        struct backing a, b;
};

static int setup(void **state) {
        struct fixture *f = calloc(1, sizeof(*f));

        vmap_init(&f->m);
        backing_init(&f->a);
        backing_init(&f->b);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;

        plan_fini(&f->plan);
        vmap_clear(&f->m);
        assert_int_equal(f->m.count, 0);
        assert_null(f->m.tree.root);
        assert_int_equal(f->a.count + f->b.count, 0);
        assert_true(list_empty(&f->a.mappings) && list_empty(&f->b.mappings));
        free(f);
        return 0;
}

static void apply(struct fixture *f) {
        plan_apply(&f->plan, &f->m);
        assert_int_equal(f->plan.applied, f->plan.count);
        assert_int_equal(vmap_check(&f->m), 0);
}

/* Maps [va, va + size) of a at offset va and commits. */
static void put(struct fixture *f, uint64_t va, uint64_t size) {
        assert_int_equal(plan_map(&f->plan, &f->m, va, size, &f->a, va, rw, false, NULL), 0);
        apply(f);
        plan_commit(&f->plan);
}

static void expect_at(struct fixture *f, uint64_t va, uint64_t start, uint64_t size, struct backing *b, uint64_t offset,
                      struct map_attrs attrs) {
        struct mapping *e = vmap_find(&f->m, va);

        assert_non_null(e);
        assert_int_equal(e->va, start);
        assert_int_equal(e->size, size);
        assert_ptr_equal(e->backing, b);
        assert_int_equal(e->offset, offset);
        assert_memory_equal(&e->attrs, &attrs, sizeof(attrs));
}

static void expect_step(struct fixture *f, unsigned i, enum step_type type, uint64_t va, uint64_t size) {
        assert_true(i < f->plan.count);
        assert_int_equal(f->plan.steps[i].type, type);
        assert_int_equal(f->plan.steps[i].va, va);
        assert_int_equal(f->plan.steps[i].size, size);
}

/* The fixture has [100, 200) alone again. */
static void expect_original(struct fixture *f) {
        assert_int_equal(vmap_check(&f->m), 0);
        assert_int_equal(f->m.count, 1);
        assert_int_equal(f->a.count, 1);
        assert_int_equal(f->b.count, 0);
        expect_at(f, 150, 100, 100, &f->a, 100, rw);
}

static void test_map_changes_nothing_until_applied(void **state) {
        struct fixture *f = *state;

        assert_int_equal(plan_map(&f->plan, &f->m, 100, 50, &f->a, 7, ro, false, NULL), 0);
        assert_int_equal(f->m.count, 0);
        assert_int_equal(f->a.count, 0);
        expect_step(f, 0, STEP_MAP, 100, 50);
        assert_int_equal(f->plan.count, 1);
        assert_int_equal(plan_map(&f->plan, &f->m, 300, 50, &f->a, 7, ro, false, NULL), -EINVAL);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 300, 50, false, NULL), -EINVAL);
        assert_int_equal(plan_protect(&f->plan, &f->m, 300, 50, ro, ATTR_ACCESS, NULL), -EINVAL);
        assert_int_equal(f->plan.count, 1);

        apply(f);
        expect_at(f, 100, 100, 50, &f->a, 7, ro);
        expect_at(f, 149, 100, 50, &f->a, 7, ro);
        assert_null(vmap_find(&f->m, 99));
        assert_null(vmap_find(&f->m, 150));
        assert_int_equal(f->a.count, 1);
        plan_revert(&f->plan, &f->m, 1);
        assert_int_equal(f->m.count, 0);
        assert_int_equal(f->a.count, 0);
        assert_int_equal(f->plan.count, 0);
}

static void test_neighbours_are_not_merged(void **state) {
        struct fixture *f = *state;

        put(f, 200, 100);
        put(f, 100, 100);
        put(f, 300, 100);
        assert_int_equal(f->m.count, 3);
        expect_at(f, 199, 100, 100, &f->a, 100, rw);
        expect_at(f, 200, 200, 100, &f->a, 200, rw);
        expect_at(f, 300, 300, 100, &f->a, 300, rw);
        assert_ptr_equal(vmap_first_from(&f->m, 0), vmap_find(&f->m, 100));
        assert_ptr_equal(vmap_first_from(&f->m, 200), vmap_find(&f->m, 200));
        assert_ptr_equal(vmap_next(vmap_find(&f->m, 200)), vmap_find(&f->m, 300));
        assert_null(vmap_next(vmap_find(&f->m, 300)));
        assert_null(vmap_first_from(&f->m, 400));
}

static void test_overlap_is_refused_without_replace(void **state) {
        struct fixture *f = *state;
        uint64_t at = 1;

        put(f, 100, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 50, 51, &f->b, 0, rw, false, &at), PLAN_E_OVERLAP);
        assert_int_equal(at, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 199, 51, &f->b, 0, rw, false, &at), PLAN_E_OVERLAP);
        assert_int_equal(at, 199);
        assert_int_equal(plan_map(&f->plan, &f->m, 120, 10, &f->b, 0, rw, false, NULL), PLAN_E_OVERLAP);
        assert_int_equal(f->plan.count, 0);

        at = 1;
        assert_int_equal(plan_map(&f->plan, &f->m, 50, 50, &f->b, 0, rw, false, &at), 0);
        apply(f);
        assert_int_equal(plan_map(&f->plan, &f->m, 200, 50, &f->b, 0, rw, false, &at), 0);
        apply(f);
        assert_int_equal(at, 1);
        assert_int_equal(f->m.count, 3);
}

static void test_bad_ranges(void **state) {
        struct fixture *f = *state;
        uint64_t at = 1;

        assert_int_equal(plan_map(&f->plan, &f->m, 100, 0, &f->a, 0, rw, true, &at), -EINVAL);
        assert_int_equal(plan_map(&f->plan, &f->m, UINT64_MAX - 9, 10, &f->a, 0, rw, true, &at), -EINVAL);
        assert_int_equal(plan_map(&f->plan, &f->m, 100, 10, &f->a, UINT64_MAX - 9, rw, true, &at), -EINVAL);
        assert_int_equal(plan_map(&f->plan, &f->m, 100, UINT64_MAX, &f->a, 0, rw, true, &at), -EINVAL);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 100, 0, false, &at), -EINVAL);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 100, UINT64_MAX, false, &at), -EINVAL);
        assert_int_equal(plan_protect(&f->plan, &f->m, 100, 0, rw, ATTR_ACCESS, &at), -EINVAL);
        assert_int_equal(plan_protect(&f->plan, &f->m, 100, UINT64_MAX, rw, ATTR_ACCESS, &at), -EINVAL);
        assert_int_equal(at, 1);
        assert_int_equal(f->plan.count, 0);
        assert_int_equal(plan_map(&f->plan, &f->m, UINT64_MAX - 10, 10, &f->a, UINT64_MAX - 10, rw, true, &at), 0);
        apply(f);
        expect_at(f, UINT64_MAX - 1, UINT64_MAX - 10, 10, &f->a, UINT64_MAX - 10, rw);
}

static void test_replace_the_middle(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 130, 20, &f->b, 5, ro, true, NULL), 0);
        assert_int_equal(f->plan.count, 2);
        expect_step(f, 0, STEP_CUT, 130, 20);
        expect_step(f, 1, STEP_MAP, 130, 20);
        assert_memory_equal(&f->plan.steps[0].before, &rw, sizeof(rw));
        assert_memory_equal(&f->plan.steps[1].attrs, &ro, sizeof(ro));
        apply(f);
        assert_int_equal(f->m.count, 3);
        assert_int_equal(f->a.count, 2);
        expect_at(f, 129, 100, 30, &f->a, 100, rw);
        expect_at(f, 130, 130, 20, &f->b, 5, ro);
        expect_at(f, 150, 150, 50, &f->a, 150, rw);
        plan_revert(&f->plan, &f->m, 2);
        expect_original(f);
}

static void test_replace_over_three(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        put(f, 200, 100);
        put(f, 300, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 150, 200, &f->b, 0, rw, true, NULL), 0);
        assert_int_equal(f->plan.count, 4);
        expect_step(f, 0, STEP_CUT, 150, 50);
        expect_step(f, 1, STEP_UNMAP, 200, 100);
        expect_step(f, 2, STEP_CUT, 300, 50);
        expect_step(f, 3, STEP_MAP, 150, 200);
        apply(f);
        expect_at(f, 100, 100, 50, &f->a, 100, rw);
        expect_at(f, 150, 150, 200, &f->b, 0, rw);
        expect_at(f, 399, 350, 50, &f->a, 350, rw);
        plan_commit(&f->plan);
        assert_int_equal(f->m.count, 3);
        assert_int_equal(f->a.count, 2);
}

static void test_replace_exactly(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 100, 100, &f->b, 0, rw, true, NULL), 0);
        assert_int_equal(f->plan.count, 2);
        expect_step(f, 0, STEP_UNMAP, 100, 100);
        apply(f);
        assert_int_equal(f->m.count, 1);
        expect_at(f, 100, 100, 100, &f->b, 0, rw);
        plan_revert(&f->plan, &f->m, UINT32_MAX);
        expect_original(f);
}

static void test_unmap_shapes(void **state) {
        struct fixture *f = *state;
        uint64_t at = 1;

        put(f, 100, 100);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 100, 40, true, &at), 0);
        expect_step(f, 0, STEP_CUT, 100, 40);
        apply(f);
        expect_at(f, 140, 140, 60, &f->a, 140, rw);
        assert_null(vmap_find(&f->m, 139));
        plan_revert(&f->plan, &f->m, 1);
        expect_original(f);

        assert_int_equal(plan_unmap(&f->plan, &f->m, 160, 90, false, &at), 0);
        expect_step(f, 0, STEP_CUT, 160, 40);
        apply(f);
        expect_at(f, 159, 100, 60, &f->a, 100, rw);
        plan_revert(&f->plan, &f->m, 1);
        expect_original(f);

        assert_int_equal(plan_unmap(&f->plan, &f->m, 0, 100, false, &at), 0);
        assert_int_equal(f->plan.count, 0);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 0, 1000, false, &at), 0);
        expect_step(f, 0, STEP_UNMAP, 100, 100);
        apply(f);
        assert_int_equal(f->m.count, 0);
        plan_revert(&f->plan, &f->m, 1);
        expect_original(f);
        assert_int_equal(at, 1);
}

static void test_unmap_names_the_first_hole(void **state) {
        struct fixture *f = *state;
        uint64_t at = 1;

        put(f, 100, 100);
        put(f, 200, 50);
        put(f, 260, 50);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 90, 20, true, &at), PLAN_E_NOT_MAPPED);
        assert_int_equal(at, 90);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 100, 200, true, &at), PLAN_E_NOT_MAPPED);
        assert_int_equal(at, 250);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 260, 51, true, &at), PLAN_E_NOT_MAPPED);
        assert_int_equal(at, 310);
        assert_int_equal(plan_protect(&f->plan, &f->m, 240, 30, ro, ATTR_ACCESS, &at), PLAN_E_NOT_MAPPED);
        assert_int_equal(at, 250);
        assert_int_equal(f->plan.count, 0);
        at = 1;
        assert_int_equal(plan_unmap(&f->plan, &f->m, 110, 140, true, &at), 0);
        assert_int_equal(at, 1);
}

static void protect_and_revert(struct fixture *f, uint64_t va, uint64_t size, unsigned mappings) {
        assert_int_equal(plan_protect(&f->plan, &f->m, va, size, ro, ATTR_ACCESS, NULL), 0);
        assert_int_equal(f->plan.count, 1);
        expect_step(f, 0, STEP_PROTECT, va, size);
        assert_memory_equal(&f->plan.steps[0].before, &rw, sizeof(rw));
        apply(f);
        assert_int_equal(f->m.count, mappings);
        assert_int_equal(f->a.count, mappings);
        expect_at(f, va, va, size, &f->a, va, ro);
        if (va > 100)
                expect_at(f, va - 1, 100, va - 100, &f->a, 100, rw);
        if (va + size < 200)
                expect_at(f, va + size, va + size, 200 - va - size, &f->a, va + size, rw);
        plan_revert(&f->plan, &f->m, 1);
        expect_original(f);
}

static void test_protect_shapes(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        protect_and_revert(f, 100, 100, 1);
        protect_and_revert(f, 100, 30, 2);
        protect_and_revert(f, 170, 30, 2);
        protect_and_revert(f, 130, 30, 3);
}

static void test_protect_merges_only_what_is_named(void **state) {
        struct fixture *f = *state;
        struct map_attrs old = { .access = 3, .pat = 2, .kind = 77 }, attrs = { .access = 1, .pat = 5, .kind = 9 };

        assert_int_equal(plan_map(&f->plan, &f->m, 100, 100, &f->a, 0, old, false, NULL), 0);
        apply(f);
        assert_int_equal(plan_protect(&f->plan, &f->m, 100, 100, attrs, ATTR_PAT, NULL), 0);
        apply(f);
        expect_at(f, 100, 100, 100, &f->a, 0, (struct map_attrs){ .access = 3, .pat = 5, .kind = 77 });
        assert_int_equal(plan_protect(&f->plan, &f->m, 100, 100, attrs, ATTR_KIND | ATTR_ACCESS, NULL), 0);
        apply(f);
        expect_at(f, 100, 100, 100, &f->a, 0, attrs);

        assert_int_equal(f->plan.count, 3);
        assert_int_equal(plan_protect(&f->plan, &f->m, 120, 10, attrs, ATTR_KIND | ATTR_PAT, NULL), 0);
        assert_int_equal(f->plan.count, 3);
}

/* What one operation of a plan made, the next ones cut, protect and unmap. */
static void vector(struct fixture *f) {
        assert_int_equal(plan_map(&f->plan, &f->m, 300, 100, &f->b, 0, rw, false, NULL), 0);
        apply(f);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 340, 10, true, NULL), 0);
        apply(f);
        assert_int_equal(plan_protect(&f->plan, &f->m, 350, 20, ro, ATTR_ACCESS, NULL), 0);
        apply(f);
        assert_int_equal(plan_map(&f->plan, &f->m, 150, 210, &f->b, 1000, rw, true, NULL), 0);
        apply(f);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 0, 1000, false, NULL), 0);
        apply(f);
        assert_int_equal(f->m.count, 0);
        assert_int_equal(f->a.count + f->b.count, 0);
        assert_int_equal(plan_map(&f->plan, &f->m, 100, 100, &f->b, 0, rw, false, NULL), 0);
        apply(f);
}

static void test_vector_reverted(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        vector(f);
        plan_revert(&f->plan, &f->m, f->plan.count);
        assert_int_equal(f->plan.count, 0);
        expect_original(f);
}

static void test_vector_committed(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        vector(f);
        plan_commit(&f->plan);
        assert_int_equal(f->plan.count, 0);
        assert_int_equal(f->plan.applied, 0);
        assert_true(f->plan.room > 0);
        assert_int_equal(f->m.count, 1);
        assert_int_equal(f->a.count, 0);
        expect_at(f, 100, 100, 100, &f->b, 0, rw);
}

static void test_commit_drops_what_was_not_applied(void **state) {
        struct fixture *f = *state;

        put(f, 100, 100);
        assert_int_equal(plan_map(&f->plan, &f->m, 130, 20, &f->b, 0, rw, true, NULL), 0);
        plan_commit(&f->plan);
        expect_original(f);
        assert_int_equal(plan_unmap(&f->plan, &f->m, 100, 100, true, NULL), 0);
        plan_commit(&f->plan);
        expect_original(f);
        assert_int_equal(plan_protect(&f->plan, &f->m, 130, 20, ro, ATTR_ACCESS, NULL), 0);
        plan_revert(&f->plan, &f->m, 1);
        expect_original(f);
        assert_int_equal(f->plan.count, 0);
}

typedef int (*plan_fn)(struct fixture *f);

static int do_map(struct fixture *f) {
        return plan_map(&f->plan, &f->m, 500, 100, &f->a, 0, rw, false, NULL);
}

static int do_replace(struct fixture *f) {
        return plan_map(&f->plan, &f->m, 130, 20, &f->b, 0, ro, true, NULL);
}

static int do_replace_many(struct fixture *f) {
        return plan_map(&f->plan, &f->m, 150, 2000, &f->b, 0, ro, true, NULL);
}

static int do_unmap(struct fixture *f) {
        return plan_unmap(&f->plan, &f->m, 130, 20, true, NULL);
}

static int do_protect(struct fixture *f) {
        return plan_protect(&f->plan, &f->m, 130, 20, ro, ATTR_ACCESS, NULL);
}

/* Fails the Nth allocation for every N until none is left to fail; the plan already holds `held` steps. */
static void fail_each(struct fixture *f, plan_fn fn, uint32_t held) {
        uint64_t mappings = f->m.count;
        int r = -ENOMEM;
        unsigned n;

        for (n = 1; r; n++) {
                assert_int_equal(f->plan.count, held);
                alloc_fail_at(n);
                r = fn(f);
                alloc_fail_off();
                assert_int_equal(r, alloc_fail_hit() ? -ENOMEM : 0);
                assert_int_equal(f->plan.applied, held);
                assert_int_equal(f->m.count, mappings);
                assert_int_equal(vmap_check(&f->m), 0);
        }
        assert_true(n > 2);
        plan_drop_unapplied(&f->plan);
        assert_int_equal(f->plan.count, held);
        assert_int_equal(f->m.count, mappings);
}

static void test_every_allocation_fails(void **state) {
        static const plan_fn fns[] = { do_map, do_replace, do_replace_many, do_unmap, do_protect };
        struct fixture *f = *state;

        put(f, 100, 100);
        plan_fini(&f->plan);
        for (unsigned i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
                fail_each(f, fns[i], 0);
                expect_original(f);
                plan_fini(&f->plan);
        }

        for (uint64_t va = 1000; va < 2800; va += 100)
                put(f, va, 90);
        assert_int_equal(do_unmap(f), 0);
        apply(f);
        fail_each(f, do_replace_many, 1);
        plan_revert(&f->plan, &f->m, 1);
        assert_int_equal(f->m.count, 19);
        expect_at(f, 150, 100, 100, &f->a, 100, rw);
}

static void test_check_notices_damage(void **state) {
        struct fixture *f = *state;
        struct mapping *first, *second;
        struct list link;

        put(f, 100, 100);
        put(f, 200, 100);
        first = vmap_find(&f->m, 100);
        second = vmap_find(&f->m, 200);

        first->size = 101;
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        first->size = 0;
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        first->size = 100;
        f->m.count = 3;
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        f->m.count = 2;
        f->a.count = 3;
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        f->a.count = 2;
        second->backing = &f->b;
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        second->backing = &f->a;
        link = second->by_backing;
        list_init(&second->by_backing);
        assert_int_equal(vmap_check(&f->m), -EUCLEAN);
        second->by_backing = link;
        assert_int_equal(vmap_check(&f->m), 0);
}

#define directed(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                directed(test_map_changes_nothing_until_applied),
                directed(test_neighbours_are_not_merged),
                directed(test_overlap_is_refused_without_replace),
                directed(test_bad_ranges),
                directed(test_replace_the_middle),
                directed(test_replace_over_three),
                directed(test_replace_exactly),
                directed(test_unmap_shapes),
                directed(test_unmap_names_the_first_hole),
                directed(test_protect_shapes),
                directed(test_protect_merges_only_what_is_named),
                directed(test_vector_reverted),
                directed(test_vector_committed),
                directed(test_commit_drops_what_was_not_applied),
                directed(test_every_allocation_fails),
                directed(test_check_notices_damage),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
