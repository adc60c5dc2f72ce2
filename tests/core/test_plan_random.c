/*
 * Random operations on a vmap against two naive models of 512 pages: `want` is told the operations,
 * `shadow` is told the steps (as a device would be), and both must show what the vmap shows, mapping
 * boundaries included. The shadow before every step is kept, so that reverting any number of steps has an
 * answer to be compared with.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/vmap.h"

enum { PAGES = 512, BACKINGS = 5, PLAN_STEPS = 64, OPERATIONS = 200000 };
#define PAGE 4096ull
#define BASE 0x700000000000ull

/* What one page shows. Pages of one mapping have one id; 0 shows nothing. */
struct page {
        uint32_t id, offset;
        struct map_attrs attrs;
        uint8_t backing;
};

struct image {
        struct page page[PAGES];
};

struct world {
        struct vmap m;
        struct plan plan;
        struct backing backing[BACKINGS];
        struct image shadow, want;
        struct image before[PLAN_STEPS + 2 * PAGES]; /* the shadow before each applied step */
        uint32_t last_id;
        unsigned long outcomes[3], reverted, steps[4], failed;
};

struct op {
        enum { OP_MAP, OP_REPLACE, OP_UNMAP, OP_UNMAP_FULL, OP_PROTECT, OPS } type;
        unsigned first, count, backing, offset, which;
        struct map_attrs attrs;
};

static uint64_t rng;

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static void seed_random(void) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
}

static uint64_t va_of(unsigned page) {
        return BASE + page * PAGE;
}

static bool attrs_same(struct map_attrs a, struct map_attrs b) {
        return a.access == b.access && a.pat == b.pat && a.kind == b.kind;
}

/* Whether page i belongs to the mapping of page i - 1. */
static bool joined(const struct image *im, unsigned i) {
        return i > 0 && im->page[i].id && im->page[i].id == im->page[i - 1].id;
}

/* The names of mappings may differ, what they show and where they end may not. */
static void images_equal(const struct image *a, const struct image *b) {
        for (unsigned i = 0; i < PAGES; i++) {
                const struct page *p = &a->page[i], *q = &b->page[i];

                assert_int_equal(!p->id, !q->id);
                if (!p->id)
                        continue;
                assert_int_equal(p->offset, q->offset);
                assert_int_equal(p->backing, q->backing);
                assert_true(attrs_same(p->attrs, q->attrs));
                assert_int_equal(joined(a, i), joined(b, i));
        }
}

static void show(struct image *im, unsigned first, unsigned count, struct page page) {
        for (unsigned i = 0; i < count; i++, page.offset++)
                im->page[first + i] = page;
}

static void hide(struct image *im, unsigned first, unsigned count) {
        memset(&im->page[first], 0, count * sizeof(im->page[0]));
}

/* The vmap as an image; the backings must list just what is in it. */
static void world_check(struct world *w) {
        struct image im = { 0 };
        uint64_t per_backing[BACKINGS] = { 0 };
        uint32_t id = 0;

        assert_int_equal(vmap_check(&w->m), 0);
        for (struct mapping *e = vmap_first_from(&w->m, 0); e; e = vmap_next(e)) {
                unsigned b = e->backing - w->backing;

                assert_true(e->va >= BASE && e->va + e->size <= va_of(PAGES));
                assert_int_equal((e->va | e->size | e->offset) % PAGE, 0);
                per_backing[b]++;
                show(&im, (e->va - BASE) / PAGE, e->size / PAGE, (struct page){ ++id, e->offset / PAGE, e->attrs, b });
        }
        images_equal(&im, &w->shadow);
        for (unsigned b = 0; b < BACKINGS; b++)
                assert_int_equal(w->backing[b].count, per_backing[b]);
}

/* Tells the shadow one step, as a device would be told, and checks what the step claims. */
static void shadow_step(struct world *w, const struct step *s) {
        unsigned first = (s->va - BASE) / PAGE, count = s->size / PAGE;
        struct page *p = &w->shadow.page[first];
        uint64_t offset = s->mapping->offset + (s->va - s->mapping->va);
        bool whole;

        w->steps[s->type]++;
        if (s->type == STEP_MAP) {
                for (unsigned i = 0; i < count; i++)
                        assert_int_equal(p[i].id, 0);
                show(&w->shadow, first, count,
                     (struct page){ ++w->last_id, offset / PAGE, s->attrs, s->mapping->backing - w->backing });
                return;
        }

        assert_int_equal(p->offset, offset / PAGE);
        assert_int_equal(p->backing, s->mapping->backing - w->backing);
        assert_true(attrs_same(p->attrs, s->before));
        for (unsigned i = 0; i < count; i++)
                assert_true(p[i].id && p[i].id == p->id);
        whole = !joined(&w->shadow, first) && (first + count == PAGES || !joined(&w->shadow, first + count));
        if (s->type == STEP_PROTECT) {
                assert_false(attrs_same(s->attrs, s->before));
                show(&w->shadow, first, count, (struct page){ ++w->last_id, p->offset, s->attrs, p->backing });
                return;
        }
        assert_int_equal(s->type, whole ? STEP_UNMAP : STEP_CUT);
        hide(&w->shadow, first, count);
}

static struct map_attrs random_attrs(void) {
        return (struct map_attrs){ .access = next_random(3), .pat = next_random(3), .kind = next_random(3) };
}

static struct op random_op(void) {
        struct op op = {
                .type = next_random(OPS),
                .count = 1 + next_random(next_random(16) ? 24 : PAGES),
                .backing = next_random(BACKINGS),
                .offset = next_random(1 << 20),
                .which = next_random(8),
                .attrs = random_attrs(),
        };

        op.first = next_random(PAGES - op.count + 1);
        return op;
}

static struct map_attrs model_attrs(struct map_attrs old, const struct op *op) {
        return (struct map_attrs){
                .access = op->which & ATTR_ACCESS ? op->attrs.access : old.access,
                .pat = op->which & ATTR_PAT ? op->attrs.pat : old.pat,
                .kind = op->which & ATTR_KIND ? op->attrs.kind : old.kind,
        };
}

/* A part of a mapping that gets other attributes becomes a mapping of its own. */
static void model_protect(struct image *im, const struct op *op, uint32_t *last_id) {
        uint32_t old_id = 0;

        for (unsigned i = op->first; i < op->first + op->count; i++) {
                struct page *p = &im->page[i];
                struct map_attrs attrs = model_attrs(p->attrs, op);

                if (p->id != old_id) {
                        old_id = p->id;
                        ++*last_id;
                }
                if (attrs_same(attrs, p->attrs))
                        continue;
                p->attrs = attrs;
                p->id = *last_id;
        }
}

/* Tells `want` the operation. Returns its outcome; *ret_page is the first page at fault. */
static int model_op(struct world *w, const struct op *op, unsigned *ret_page) {
        bool needs_all = op->type == OP_UNMAP_FULL || op->type == OP_PROTECT;

        w->want = w->shadow;
        for (unsigned i = op->first; i < op->first + op->count; i++) {
                *ret_page = i;
                if (op->type == OP_MAP && w->want.page[i].id)
                        return PLAN_E_OVERLAP;
                if (needs_all && !w->want.page[i].id)
                        return PLAN_E_NOT_MAPPED;
        }
        if (op->type == OP_PROTECT) {
                model_protect(&w->want, op, &w->last_id);
                return 0;
        }
        hide(&w->want, op->first, op->count);
        if (op->type == OP_MAP || op->type == OP_REPLACE)
                show(&w->want, op->first, op->count, (struct page){ ++w->last_id, op->offset, op->attrs, op->backing });
        return 0;
}

static int run_op(struct world *w, const struct op *op, uint64_t *ret_at) {
        uint64_t va = va_of(op->first), size = op->count * PAGE;

        switch (op->type) {
        case OP_MAP:
        case OP_REPLACE:
                return plan_map(&w->plan, &w->m, va, size, &w->backing[op->backing], op->offset * PAGE, op->attrs,
                                op->type == OP_REPLACE, ret_at);
        case OP_UNMAP:
        case OP_UNMAP_FULL: return plan_unmap(&w->plan, &w->m, va, size, op->type == OP_UNMAP_FULL, ret_at);
        default: return plan_protect(&w->plan, &w->m, va, size, op->attrs, op->which, ret_at);
        }
}

/* Plans with an allocation that fails, or plans and thinks better of it: nothing may have changed. */
static void try_in_vain(struct world *w, const struct op *op) {
        uint32_t count = w->plan.count;
        uint64_t at;
        int r;

        alloc_fail_at(1 + next_random(4));
        r = run_op(w, op, &at);
        alloc_fail_off();
        if (alloc_fail_hit()) {
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(w->plan.count, count);
                w->failed++;
        }
        world_check(w);
        plan_drop_unapplied(&w->plan);
        assert_int_equal(w->plan.count, count);
        world_check(w);
}

static void do_op(struct world *w, const struct op *op) {
        uint32_t count = w->plan.count;
        uint64_t at = 0;
        unsigned page = 0;
        int expected = model_op(w, op, &page), r;

        r = run_op(w, op, &at);
        assert_int_equal(r, expected);
        w->outcomes[r]++;
        assert_int_equal(w->plan.applied, count);
        if (r) {
                assert_int_equal(at, va_of(page));
                assert_int_equal(w->plan.count, count);
        } else {
                assert_int_equal(at, 0);
                for (uint32_t i = count; i < w->plan.count; i++) {
                        w->before[i] = w->shadow;
                        shadow_step(w, &w->plan.steps[i]);
                }
                images_equal(&w->shadow, &w->want);
                alloc_fail_at(1);
                plan_apply(&w->plan, &w->m);
                assert_false(alloc_fail_hit());
                alloc_fail_off();
        }
        world_check(w);
}

static void revert(struct world *w) {
        uint32_t left = next_random(4) ? next_random(w->plan.count + 1) : 0;

        if (left == w->plan.count)
                return;
        w->shadow = w->before[left];
        w->reverted += w->plan.count - left;
        plan_revert(&w->plan, &w->m, w->plan.count - left);
        assert_int_equal(w->plan.count, left);
        assert_int_equal(w->plan.applied, left);
        world_check(w);
}

static void commit(struct world *w) {
        plan_commit(&w->plan);
        assert_int_equal(w->plan.count, 0);
        world_check(w);
}

static void random_operation(struct world *w) {
        struct op op = random_op();

        if (next_random(4) == 0)
                try_in_vain(w, &op);
        do_op(w, &op);

        /* Nothing that follows planning may need memory. */
        alloc_fail_at(1);
        if (next_random(8) == 0)
                revert(w);
        if (next_random(12) == 0 || w->plan.count > PLAN_STEPS)
                commit(w);
        assert_false(alloc_fail_hit());
        alloc_fail_off();
        if (next_random(1000) == 0) {
                plan_fini(&w->plan);
                world_check(w);
        }
}

static void test_random(void **state) {
        static struct world w;

        seed_random();
        vmap_init(&w.m);
        for (unsigned b = 0; b < BACKINGS; b++)
                backing_init(&w.backing[b]);

        for (int i = 0; i < OPERATIONS; i++)
                random_operation(&w);

        printf("done %lu, overlap %lu, not mapped %lu, allocations failed %lu, steps reverted %lu\n", w.outcomes[0],
               w.outcomes[1], w.outcomes[2], w.failed, w.reverted);
        assert_true(w.outcomes[0] && w.outcomes[PLAN_E_OVERLAP] && w.outcomes[PLAN_E_NOT_MAPPED] && w.failed);
        for (int i = 0; i < 4; i++)
                assert_true(w.steps[i] > 1000);

        plan_fini(&w.plan);
        vmap_clear(&w.m);
        memset(&w.shadow, 0, sizeof(w.shadow));
        world_check(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
