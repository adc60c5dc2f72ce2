#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "backend/soft/soft.h"
#include "base/alloc.h"
#include "core/imap.h"
#include "managed_world.h"
#include "proto/status.h"

/*
 * One question each about managed ranges on a software device: ranges of all three sizes of granules, two spaces of one
 * node, memory of their own to map. Faults are answered by hand.
 */
enum { SMALL_BYTES = PAGE, MIDDLE_BYTES = 64 * 1024, LARGE_BYTES = 2 * 1024 * 1024, OWN_PAGES = 64 };

#define SMALL  0x280000000000ull
#define MIDDLE (SMALL + (1ull << 30))
#define LARGE  (SMALL + (2ull << 30))
#define OWN    (SMALL + (1ull << 40))
#define RW     ((struct map_attrs){ .access = 3 })

struct scene {
        struct world *w;
        const struct backend *b;
        struct managed *small, *middle, *large;
        struct device_space *s, *other;
        struct memfile *own;
        char *base; /* of own memory, which both spaces show at OWN */
};

static void scene_show(struct scene *t, struct device_space *s) {
        for (int i = 0; i < RANGES; i++)
                assert_int_equal(t->b->space_show(s, t->w->range[i].seen[0], true), 0);
}

static void map_own(struct scene *t, struct device_space *s, uint64_t va, uint64_t page, uint64_t pages) {
        struct device_extent extent = { .slot = memfile_slot(t->own), .offset = page * PAGE, .size = pages * PAGE };

        assert_int_equal(t->b->map(s, va, &extent, 1, RW), 0);
}

static struct scene *scene_new_with(bool faults) {
        struct scene *t = calloc(1, sizeof(*t));

        t->w = world_new(faults);
        t->b = t->w->b;
        t->w->single[0] = false;
        t->small = managed_new(t->w, 0, SMALL, SMALL_BYTES, 16, 8);
        t->middle = managed_new(t->w, 1, MIDDLE, MIDDLE_BYTES, 4, 2);
        t->large = managed_new(t->w, 2, LARGE, LARGE_BYTES, 2, 1);
        assert_int_equal(t->b->space_new(t->w->d[0], &t->s), 0);
        assert_int_equal(t->b->space_new(t->w->d[0], &t->other), 0);
        assert_int_equal(memfile_new(&t->own, "own", OWN_PAGES * PAGE, -1, true), 0);
        t->base = memfile_base(memfile_slot(t->own));
        scene_show(t, t->s);
        scene_show(t, t->other);
        map_own(t, t->s, OWN, 0, OWN_PAGES);
        map_own(t, t->other, OWN, 0, OWN_PAGES);
        return t;
}

static struct scene *scene_new(void) {
        return scene_new_with(true);
}

static void scene_free(struct scene *t) {
        t->b->space_free(t->s);
        t->b->space_free(t->other);
        world_free(t->w);
        memfile_free(t->own);
        free(t);
}

static struct device_op fill(uint64_t va, uint64_t size, uint64_t value) {
        return (struct device_op){ .type = DEVICE_FILL, .dst = va, .size = size, .value = value };
}

static struct device_op sum(uint64_t va, uint64_t size) {
        return (struct device_op){ .type = DEVICE_SUM, .src = va, .size = size };
}

static struct device_op copy(uint64_t dst, uint64_t src, uint64_t size) {
        return (struct device_op){ .type = DEVICE_COPY, .dst = dst, .src = src, .size = size };
}

static struct fault *expect_fault(struct scene *t, const struct managed *r, uint32_t granule, bool write) {
        struct fault *f = fault_take(t->w);

        assert_ptr_equal(f->range, r);
        assert_int_equal(f->granule, granule);
        assert_int_equal(f->node, 0);
        assert_int_equal(f->write, write);
        return f;
}

static void expect_bytes(struct managed *r, uint64_t offset, uint64_t size, uint8_t value) {
        uint8_t *bytes = malloc(size);

        managed_read(r, offset, bytes, size);
        for (uint64_t i = 0; i < size; i++)
                assert_int_equal(bytes[i], value);
        free(bytes);
}

/* ---- faults --------------------------------------------------------------------------------------------- */

static void test_asks_once_for_each_granule(void **state) {
        struct scene *t = scene_new();

        for (int i = 0; i < RANGES; i++) {
                struct managed *r = &t->w->range[i];
                uint64_t half = r->bytes / 2, begun = t->w->begun, fence;

                fence = submit(t->w, t->s, fill(r->address + half, r->bytes, 0x5a));
                fault_serve(expect_fault(t, r, 0, true), true);
                fault_serve(expect_fault(t, r, 1, true), false);
                expect_code(await(t->w, fence), SVMD_STATUS_OK);
                if (r->bytes <= SOFT_CHUNK) /* what the answer began was used, and not begun again */
                        assert_int_equal(t->w->begun, begun);
                expect_bytes(r, 0, half, 0);
                expect_bytes(r, half, r->bytes, 0x5a);
                expect_bytes(r, half + r->bytes, half, 0);

                /* what is shown now is not asked for, by whichever space */
                expect_code(run(t->w, t->s, fill(r->address, 2ull * r->bytes, 0x11)), SVMD_STATUS_OK);
                assert_int_equal(run(t->w, t->other, sum(r->address, 16))->value, 0x2222222222222222);
                assert_int_equal(faults_waiting(t->w), 0);
        }
        scene_free(t);
}

static void test_what_was_taken_away_is_asked_for_again(void **state) {
        struct scene *t = scene_new();
        uint64_t fence, word = 7;

        managed_show(t->small, 3, 0, true, false);
        assert_int_equal(run(t->w, t->s, sum(SMALL + 3 * PAGE, 8))->value, 0);
        managed_take(t->small, 3);
        managed_write(t->small, 3 * PAGE, &word, 8);
        fence = submit(t->w, t->s, sum(SMALL + 3 * PAGE, 8));
        fault_serve(expect_fault(t, t->small, 3, false), false);
        assert_int_equal(await(t->w, fence)->value, 7);

        /* shown for reading is not shown for writing */
        fence = submit(t->w, t->s, fill(SMALL + 3 * PAGE, 8, 1));
        fault_serve(expect_fault(t, t->small, 3, true), true);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        expect_bytes(t->small, 3 * PAGE, 8, 1);
        scene_free(t);
}

static void test_an_answer_with_an_error_ends_the_operation(void **state) {
        struct scene *t = scene_new_with(false);
        const struct device_result *r;
        uint64_t fence;

        managed_show(t->small, 0, 0, true, true);
        fence = submit(t->w, t->s, fill(SMALL + 100, 2 * PAGE, 1));
        fault_refuse(expect_fault(t, t->small, 1, true), SVMD_STATUS_NOT_MAPPED,
                     "it is not on this node, which has no faults: prefetch it first");
        r = await(t->w, fence);
        expect_code(r, SVMD_STATUS_NOT_MAPPED);
        assert_string_equal(r->text, "gpu0: write to 0x280000001000: it is not on this node, which has no faults: "
                                     "prefetch it first");
        assert_int_equal(r->address, SMALL + PAGE);
        assert_true(r->write);
        expect_bytes(t->small, 100, PAGE - 100, 1);
        expect_bytes(t->small, PAGE, PAGE, 0);

        fence = submit(t->w, t->s, sum(SMALL + PAGE, 8));
        fault_refuse(expect_fault(t, t->small, 1, false), SVMD_STATUS_NO_ROOM, "full");
        r = await(t->w, fence);
        expect_code(r, SVMD_STATUS_NO_ROOM);
        assert_int_equal(r->address, SMALL + PAGE);
        assert_false(r->write);
        expect_code(run(t->w, t->s, sum(SMALL, PAGE)), SVMD_STATUS_OK);
        scene_free(t);
}

/* What had been read is not read again when the source was taken away meanwhile: two operands that push one another
 * out do not stop the operation. */
static void test_copy_keeps_its_source_while_it_asks(void **state) {
        struct scene *t = scene_new();
        uint64_t fence, words[2] = { 1, 2 };

        managed_write(t->middle, 0, &words[0], 8);
        fence = submit(t->w, t->s, copy(LARGE, MIDDLE, 8));
        fault_serve(expect_fault(t, t->middle, 0, false), true);
        struct fault *f = expect_fault(t, t->large, 0, true);
        managed_take(t->middle, 0);
        managed_write(t->middle, 0, &words[1], 8);
        fault_serve(f, false);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        managed_read(t->large, 0, words, 8);
        assert_int_equal(words[0], 1);

        /* explicit memory is kept too: the space is not locked while it asks */
        managed_take(t->large, 0);
        memset(t->base, 0x33, PAGE);
        fence = submit(t->w, t->s, copy(LARGE, OWN, PAGE));
        f = expect_fault(t, t->large, 0, true);
        t->b->unmap(t->s, OWN, OWN_PAGES * PAGE);
        memset(t->base, 0, PAGE);
        fault_serve(f, true);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        expect_bytes(t->large, 0, PAGE, 0x33);
        scene_free(t);
}

static void test_compare_keeps_its_first_side(void **state) {
        struct device_op op = { .type = DEVICE_COMPARE, .dst = SMALL + 8, .src = SMALL + 4 * PAGE, .size = PAGE };
        struct scene *t = scene_new();
        uint64_t fence, word = 1;

        managed_write(t->small, 4 * PAGE + PAGE - 8, &word, 8); /* below the second granule of the first side */
        fence = submit(t->w, t->s, op);
        fault_serve(expect_fault(t, t->small, 0, false), true);
        struct fault *f = expect_fault(t, t->small, 4, false);
        managed_take(t->small, 0);
        managed_write(t->small, 8, &word, 8);
        fault_serve(f, true);
        fault_serve(expect_fault(t, t->small, 1, false), false);
        assert_int_equal(await(t->w, fence)->value, PAGE - 8);
        scene_free(t);
}

static void test_chase_with_a_pointer_across_granules(void **state) {
        struct device_op op = { .type = DEVICE_CHASE, .src = SMALL + 2 * PAGE - 4, .size = 10 };
        struct scene *t = scene_new();
        uint64_t fence, next = SMALL + 5 * PAGE, end = 0;
        const struct device_result *r;

        managed_write(t->small, 2 * PAGE - 4, &next, 8);
        fence = submit(t->w, t->s, op);
        fault_serve(expect_fault(t, t->small, 1, false), true);
        struct fault *f = expect_fault(t, t->small, 2, false);
        managed_take(t->small, 1);
        managed_write(t->small, 2 * PAGE - 4, &end, 4); /* half of it was read */
        fault_serve(f, false);
        fault_serve(expect_fault(t, t->small, 5, false), true);
        r = await(t->w, fence);
        expect_code(r, SVMD_STATUS_OK);
        assert_int_equal(r->value, 1);
        assert_int_equal(r->address, SMALL + 5 * PAGE);
        scene_free(t);
}

static void test_others_go_on_and_the_order_is_kept(void **state) {
        struct scene *t = scene_new();
        uint64_t first, last = 0;
        struct fault *f;

        managed_show(t->small, 1, 0, true, true);
        first = submit(t->w, t->s, fill(SMALL, 8, 1));
        f = expect_fault(t, t->small, 0, true);
        for (int i = 0; i < 20; i++)
                last = submit(t->w, t->s, fill(SMALL + PAGE, 8, (uint64_t)i)); /* could run at once */
        for (int i = 0; i < 20; i++) {
                expect_code(run(t->w, t->other, fill(SMALL + PAGE, 8, 9)), SVMD_STATUS_OK);
                expect_code(run(t->w, t->other, fill(OWN, 8, 9)), SVMD_STATUS_OK);
        }
        for (uint64_t fence = first; fence <= last; fence++)
                assert_int_equal(t->w->times[fence], 0);
        assert_int_equal(faults_waiting(t->w), 0);
        fault_serve(f, true);
        await(t->w, last);
        for (uint64_t i = 0; i < 21; i++)
                assert_int_equal(t->w->order[40 + i], first + i);
        expect_bytes(t->small, PAGE, 8, 19);
        scene_free(t);
}

static void test_an_answer_inside_of_the_fault(void **state) {
        struct scene *t = scene_new();

        t->w->inside = 100;
        expect_code(run(t->w, t->s, fill(SMALL, 16 * PAGE, 3)), SVMD_STATUS_OK);
        expect_code(run(t->w, t->other, fill(LARGE + 1, 2 * LARGE_BYTES - 1, 4)), SVMD_STATUS_OK);
        assert_int_equal(t->w->answered, 18);
        expect_bytes(t->small, 0, 16 * PAGE, 3);
        expect_bytes(t->large, 1, 2 * LARGE_BYTES - 1, 4);
        scene_free(t);
}

static struct scene *probed;
static atomic_uint probes[AT_FILE + 1];

/* Each of these takes a lock: the space's, the device's. */
static void probe_locks(struct managed *r, uint32_t granule, enum where where) {
        struct device_op op = { .fence = FENCES - 1 }; /* no such operation */
        struct device_translation translation;

        probed->b->translate(probed->s, SMALL, &translation);
        probed->b->translate(probed->other, SMALL, &translation);
        if (where == AT_FAULT)
                assert_int_equal(probed->b->submit(probed->other, &op), 0);
        atomic_fetch_add(&probes[where], 1);
}

static void test_no_lock_is_held(void **state) {
        struct scene *t = scene_new();

        probed = t;
        t->w->hook = probe_locks;
        t->w->inside = 100;
        expect_code(run(t->w, t->s, fill(SMALL, 4 * PAGE, 1)), SVMD_STATUS_OK);
        expect_code(run(t->w, t->s, copy(MIDDLE, SMALL, 4 * PAGE)), SVMD_STATUS_OK);
        for (int where = AT_BEGIN; where <= AT_FILE; where++)
                assert_true(atomic_load(&probes[where]) > 0);
        scene_free(t);
}

/* ---- what an address shows ------------------------------------------------------------------------------ */

static void test_access(void **state) {
        struct scene *t = scene_new();
        const struct device_result *r;

        managed_show(t->small, 0, 0, true, true);
        assert_int_equal(t->b->space_show(t->s, t->small->seen[0], false), 0);
        r = run(t->w, t->s, fill(SMALL + 8, 8, 1));
        expect_code(r, SVMD_STATUS_ACCESS);
        assert_string_equal(r->text, "gpu0: write to 0x280000000008: this session may only read the managed range "
                                     "there");
        assert_int_equal(r->address, SMALL + 8);
        assert_true(r->write);
        expect_code(run(t->w, t->s, (struct device_op){ .type = DEVICE_ATOMIC_ADD, .dst = SMALL }), SVMD_STATUS_ACCESS);
        expect_code(run(t->w, t->s, copy(SMALL, OWN, 8)), SVMD_STATUS_ACCESS);
        expect_code(run(t->w, t->s, copy(OWN, SMALL, 8)), SVMD_STATUS_OK);
        expect_code(run(t->w, t->other, fill(SMALL, 8, 1)), SVMD_STATUS_OK);
        assert_int_equal(t->b->space_show(t->s, t->small->seen[0], true), 0);
        expect_code(run(t->w, t->s, fill(SMALL + 8, 8, 1)), SVMD_STATUS_OK);
        scene_free(t);
}

/* The last byte of the range is of it, the next is not. */
static void test_edges(void **state) {
        struct scene *t = scene_new();
        const struct device_result *r;

        managed_show(t->small, 15, 0, false, true);
        expect_code(run(t->w, t->s, fill(SMALL + 16 * PAGE - 1, 1, 1)), SVMD_STATUS_OK);
        r = run(t->w, t->s, fill(SMALL + 16 * PAGE - 1, 2, 2));
        expect_code(r, SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(r->address, SMALL + 16 * PAGE);
        r = run(t->w, t->s, sum(SMALL - 8, 16));
        expect_code(r, SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(r->address, SMALL - 8);
        expect_bytes(t->small, 16 * PAGE - 1, 1, 2);
        scene_free(t);
}

static void test_explicit_mappings_come_first(void **state) {
        struct scene *t = scene_new();

        managed_show(t->large, 0, 0, true, true);
        map_own(t, t->s, LARGE + 9 * PAGE, 5, 2);
        expect_code(run(t->w, t->s, fill(LARGE, 16 * PAGE, 7)), SVMD_STATUS_OK);
        expect_bytes(t->large, 0, 9 * PAGE, 7);
        expect_bytes(t->large, 9 * PAGE, 2 * PAGE, 0);
        expect_bytes(t->large, 11 * PAGE, 5 * PAGE, 7);
        for (int i = 0; i < 2 * PAGE; i++)
                assert_int_equal(t->base[5 * PAGE + i], 7);
        assert_int_equal(run(t->w, t->other, sum(LARGE + 9 * PAGE, 8))->value, 0);
        t->b->unmap(t->s, LARGE + 9 * PAGE, 2 * PAGE);
        assert_int_equal(run(t->w, t->s, sum(LARGE + 9 * PAGE, 8))->value, 0);
        scene_free(t);
}

/* The granule that was asked for is not needed any more, and is given back. */
static void test_mapped_over_while_it_asks(void **state) {
        struct scene *t = scene_new();
        uint64_t fence = submit(t->w, t->s, fill(SMALL + PAGE, 2 * PAGE, 1));
        struct fault *f = expect_fault(t, t->small, 1, true);

        map_own(t, t->s, SMALL + PAGE, 4, 1);
        fault_serve(f, true);
        f = expect_fault(t, t->small, 2, true);
        assert_int_equal(t->small->held[0], 0);
        fault_serve(f, true);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        expect_bytes(t->small, PAGE, PAGE, 0);
        expect_bytes(t->small, 2 * PAGE, PAGE, 1);
        assert_int_equal(t->base[4 * PAGE], 1);

        /* when nothing of the operation is managed any more */
        t->b->unmap(t->s, SMALL + PAGE, PAGE);
        managed_take(t->small, 1);
        fence = submit(t->w, t->s, fill(SMALL + PAGE, PAGE, 2));
        f = expect_fault(t, t->small, 1, true);
        map_own(t, t->s, SMALL + PAGE, 4, 1);
        fault_serve(f, true);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        assert_int_equal(t->small->held[0], 0);
        scene_free(t);
}

/* The same with two operands, the other of which is shown: never two at a time, and each is ended. */
static void test_one_of_two_is_mapped_over_while_it_asks(void **state) {
        static const enum device_op_type types[] = { DEVICE_COPY, DEVICE_COMPARE };
        uint64_t other = SMALL + 2 * PAGE, asked = SMALL + 3 * PAGE;
        struct scene *t = scene_new();

        t->w->single[0] = true; /* nobody else does anything */
        memset(t->base, 1, 8 * PAGE);
        managed_show(t->small, 2, 0, true, true);
        for (int i = 0; i < 2; i++) {
                struct device_op op = { .type = types[i], .dst = i ? asked : other, .src = i ? other : asked };
                struct fault *f;
                uint64_t fence;

                op.size = PAGE;
                fence = submit(t->w, t->s, op);
                f = expect_fault(t, t->small, 3, false);
                map_own(t, t->s, asked, 4, 1);
                fault_serve(f, false);
                expect_code(await(t->w, fence), SVMD_STATUS_OK);
                assert_int_equal(t->w->results[fence].value, i ? PAGE : 0);
                assert_int_equal(t->small->held[0], 0);
                expect_bytes(t->small, 2 * PAGE, PAGE, 1);
                t->b->unmap(t->s, asked, PAGE);
                managed_take(t->small, 3);
        }
        scene_free(t);
}

static void test_sparse_is_under_managed(void **state) {
        struct scene *t = scene_new();
        struct imap_spare spare;

        assert_int_equal(imap_spare_get(&spare), 0);
        t->b->sparse(t->s, SMALL, 32 * PAGE, SPARSE_WRITES_DROPPED, &spare);
        imap_spare_put(&spare);
        t->w->inside = 100;
        expect_code(run(t->w, t->s, fill(SMALL, 32 * PAGE, 1)), SVMD_STATUS_OK);
        expect_bytes(t->small, 0, 16 * PAGE, 1);
        assert_int_equal(run(t->w, t->s, sum(SMALL + 15 * PAGE, 2 * PAGE))->value, 0x0101010101010101ull * (PAGE / 8));
        t->b->space_hide(t->s, t->small->seen[0]);
        assert_int_equal(run(t->w, t->s, sum(SMALL, 16 * PAGE))->value, 0);
        scene_free(t);
}

/* ---- hide, free ----------------------------------------------------------------------------------------- */

struct caller {
        struct scene *t;
        struct device_range *hide; /* NULL: frees the space */
        atomic_bool may_return, returned;
        pthread_t thread;
};

static void *caller_main(void *userdata) {
        struct caller *c = userdata;

        if (c->hide)
                c->t->b->space_hide(c->t->s, c->hide);
        else
                c->t->b->space_free(c->t->s);
        CHECK(atomic_load(&c->may_return));
        atomic_store(&c->returned, true);
        return NULL;
}

static bool is_in(struct scene *t, bool hides) {
        pthread_mutex_t *lock = hides ? &t->s->lock : &t->w->d[0]->lock;
        bool in;

        pthread_mutex_lock(lock);
        in = hides ? t->s->hiding : t->s->dying;
        pthread_mutex_unlock(lock);
        return in;
}

/* Returns when the call waits; whoever lets it go on says so first. */
static void call(struct caller *c, struct scene *t, struct device_range *hide) {
        *c = (struct caller){ .t = t, .hide = hide };
        assert_int_equal(pthread_create(&c->thread, NULL, caller_main, c), 0);
        for (int i = 0; !is_in(t, hide != NULL); i++) {
                assert_true(i < 300000);
                usleep(100);
        }
        usleep((useconds_t)rnd(200));
        atomic_store(&c->may_return, true);
}

static void called(struct caller *c) {
        await_flag(c->t->w, &c->returned);
        pthread_join(c->thread, NULL);
}

static void test_hide_waits_for_the_answer(void **state) {
        for (int round = 0; round < 20; round++) {
                struct scene *t = scene_new();
                uint64_t fence = submit(t->w, t->s, fill(SMALL + 16, 8, 1));
                struct fault *f = expect_fault(t, t->small, 0, true);
                const struct device_result *r;
                struct caller c;

                call(&c, t, t->small->seen[0]);
                if (round % 2)
                        fault_serve(f, round % 4 == 1);
                else
                        fault_refuse(f, SVMD_STATUS_NO_ROOM, "full");
                called(&c);
                assert_int_equal(t->small->held[0], 0);
                r = await(t->w, fence);
                expect_code(r, SVMD_STATUS_NOT_MAPPED);
                assert_non_null(strstr(r->text, "taken out of this space"));
                assert_int_equal(r->address, SMALL + 16);
                assert_true(r->write);
                expect_bytes(t->small, 0, PAGE, 0);
                expect_code(run(t->w, t->s, sum(SMALL, 8)), SVMD_STATUS_NOT_MAPPED);
                managed_show(t->small, 0, 0, true, true);
                expect_code(run(t->w, t->other, sum(SMALL, 8)), SVMD_STATUS_OK);
                scene_free(t);
        }
}

static atomic_bool at_end, go_on;

static void stop_at_end(struct managed *r, uint32_t granule, enum where where) {
        if (where != AT_END)
                return;
        atomic_store(&at_end, true);
        await_flag(r->w, &go_on);
}

static void test_hide_waits_for_who_holds(void **state) {
        for (int round = 0; round < 20; round++) {
                struct scene *t = scene_new();
                struct caller c;
                uint64_t fence;

                atomic_store(&at_end, false);
                atomic_store(&go_on, false);
                managed_show(t->small, 0, 0, true, true);
                t->w->hook = stop_at_end;
                fence = submit(t->w, t->s, fill(SMALL, 8, 1));
                await_flag(t->w, &at_end);
                call(&c, t, t->small->seen[0]);
                atomic_store(&go_on, true);
                called(&c);
                assert_int_equal(t->small->held[0], 0);
                expect_code(await(t->w, fence), SVMD_STATUS_OK);
                scene_free(t);
        }
}

/* The thread has ended the granule, and lets the caller in before it comes back to say so. */
static void test_hide_between_end_and_the_lock(void **state) {
        for (int round = 0; round < 20; round++) {
                struct scene *t = scene_new();
                struct caller c = { .t = t, .hide = t->small->seen[0], .may_return = true };
                uint64_t fence;

                atomic_store(&at_end, false);
                atomic_store(&go_on, false);
                managed_show(t->small, 0, 0, true, true);
                t->w->hook = stop_at_end;
                fence = submit(t->w, t->s, fill(SMALL, 8, 1));
                await_flag(t->w, &at_end);
                pthread_mutex_lock(&t->s->lock);
                atomic_store(&go_on, true);
                usleep((useconds_t)rnd(2000)); /* most times the thread is at the lock first */
                assert_int_equal(pthread_create(&c.thread, NULL, caller_main, &c), 0);
                while (atomic_load(&t->s->waiting) == 0)
                        usleep(100);
                pthread_mutex_unlock(&t->s->lock);
                called(&c);
                expect_code(await(t->w, fence), SVMD_STATUS_OK);
                scene_free(t);
        }
}

static void test_hide_of_another_range_does_not_wait(void **state) {
        struct scene *t = scene_new();
        uint64_t fence = submit(t->w, t->s, fill(SMALL, 8, 1));
        struct fault *f = expect_fault(t, t->small, 0, true);

        t->b->space_hide(t->s, t->large->seen[0]);
        t->b->space_hide(t->s, t->large->seen[0]); /* it sees it no more: nothing to do */
        t->b->space_hide(t->other, t->small->seen[0]);
        expect_code(run(t->w, t->other, fill(SMALL, 8, 1)), SVMD_STATUS_NOT_MAPPED);
        fault_serve(f, true);
        expect_code(await(t->w, fence), SVMD_STATUS_OK);
        expect_code(run(t->w, t->s, fill(LARGE, 8, 1)), SVMD_STATUS_NOT_MAPPED);
        scene_free(t);
}

static void test_space_free_waits_for_the_answer(void **state) {
        for (int round = 0; round < 20; round++) {
                struct scene *t = scene_new();
                uint64_t first = submit(t->w, t->s, copy(SMALL + 16, MIDDLE, 8)), last = 0;
                struct caller c;
                struct fault *f;

                for (int i = 0; i < 5; i++)
                        last = submit(t->w, t->s, fill(SMALL, 8, 1));
                fault_serve(expect_fault(t, t->middle, 0, false), true);
                f = expect_fault(t, t->small, 0, true);
                call(&c, t, NULL);
                if (round % 2)
                        fault_serve(f, round % 4 == 1);
                else
                        fault_refuse(f, SVMD_STATUS_NO_ROOM, "full");
                called(&c);
                assert_int_equal(t->small->held[0], 0);
                for (uint64_t fence = first; fence <= last; fence++)
                        expect_code(await(t->w, fence), SVMD_STATUS_GONE);
                expect_bytes(t->small, 0, PAGE, 0);
                assert_int_equal(faults_waiting(t->w), 0);
                t->s = NULL;
                scene_free(t);
        }
}

/* ---- what must not happen ------------------------------------------------------------------------------- */

static void change_what_is_shown(struct managed *r, uint32_t granule, enum where where) {
        struct device_extent extent = { .slot = memfile_slot(r->file), .offset = r->bytes, .size = r->bytes };

        if (where == AT_FILE)
                assert_int_equal(r->w->b->range_map(r->seen[0], granule, extent, true), 0);
}

/* Somebody else's mistake ends the operation, and nothing is held afterwards. */
static void test_a_translation_that_is_wrong(void **state) {
        struct scene *t = scene_new();
        const struct device_result *r;

        t->small->lies = true;
        r = run(t->w, t->s, sum(SMALL, 8));
        expect_code(r, SVMD_STATUS_SYSTEM);
        assert_non_null(strstr(r->text, "report this bug"));
        assert_int_equal(r->address, SMALL);
        expect_code(run(t->w, t->s, copy(SMALL, OWN, 8)), SVMD_STATUS_SYSTEM);
        managed_show(t->small, 0, 0, false, false);
        expect_code(run(t->w, t->s, sum(SMALL, 8)), SVMD_STATUS_OK);
        managed_take(t->small, 0); /* nothing of it is left */
        expect_code(run(t->w, t->s, sum(SMALL, 8)), SVMD_STATUS_SYSTEM);
        managed_show(t->small, 0, 0, false, false);
        r = run(t->w, t->s, fill(SMALL, 8, 1));
        expect_code(r, SVMD_STATUS_SYSTEM);
        assert_true(r->write);
        assert_int_equal(t->small->held[0], 0);
        expect_bytes(t->small, 0, 8, 0);

        managed_show(t->small, 0, 0, false, true);
        t->w->hook = change_what_is_shown;
        for (int i = 0; i < 5; i++) {
                struct device_op ops[] = {
                        fill(SMALL, 8, 1),        sum(SMALL, 8), copy(OWN, SMALL, 8), { .type = DEVICE_COMPARE },
                        { .type = DEVICE_CHASE },
                };

                ops[3].dst = ops[3].src = ops[4].src = SMALL;
                ops[3].size = ops[4].size = 8;
                managed_take(t->small, 0);
                managed_show(t->small, 0, 0, false, true);
                r = run(t->w, t->s, ops[i]);
                expect_code(r, SVMD_STATUS_SYSTEM);
                assert_non_null(strstr(r->text, "changed what it shows"));
                assert_int_equal(t->small->held[0], 0);
        }
        scene_free(t);
}

static void give_more_access(struct managed *r, uint32_t granule, enum where where) {
        struct device_extent extent = { .slot = memfile_slot(r->file), .size = r->bytes };

        if (where == AT_FILE)
                assert_int_equal(r->w->b->range_map(r->seen[0], granule, extent, true), 0);
}

/* An operation that reads goes on while another one, of another space, is shown the same granule for writing. */
static void test_more_access_meanwhile(void **state) {
        struct scene *t = scene_new();

        managed_show(t->small, 0, 0, false, false);
        t->w->hook = give_more_access;
        expect_code(run(t->w, t->s, sum(SMALL, 8)), SVMD_STATUS_OK);
        expect_code(run(t->w, t->s, copy(OWN, SMALL, 8)), SVMD_STATUS_OK);
        scene_free(t);
}

static void test_a_file_that_refuses(void **state) {
        const struct device_op ops[] = {
                fill(SMALL, 8, 1),
                sum(SMALL, 8),
                copy(OWN, SMALL, 8),
                copy(SMALL, OWN, 8),
                { .type = DEVICE_COMPARE, .dst = OWN, .src = SMALL, .size = 8 },
                { .type = DEVICE_CHASE, .src = SMALL, .size = 8 },
                { .type = DEVICE_ATOMIC_ADD, .dst = SMALL },
        };
        struct scene *t = scene_new();

        managed_show(t->small, 0, 0, false, true);
        t->w->file_error = -EIO;
        for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
                const struct device_result *r = run(t->w, t->s, ops[i]);

                expect_code(r, SVMD_STATUS_SYSTEM);
                assert_non_null(strstr(r->text, "Input/output error"));
                assert_int_equal(r->address, SMALL);
                assert_int_equal(r->write, ops[i].dst == SMALL);
                assert_int_equal(t->small->held[0], 0);
        }
        scene_free(t);
}

static void test_refused_arguments(void **state) {
        static const struct device_range_args bad[] = {
                { .address = SMALL, .granule = PAGE },
                { .address = SMALL, .granule = 0, .count = 1 },
                { .address = SMALL, .granule = 6000, .count = 1 },
                { .address = SMALL + 8, .granule = PAGE, .count = 1 },
                { .address = 1ull << 48, .granule = PAGE, .count = 1 },
                { .address = (1ull << 48) - PAGE, .granule = PAGE, .count = 2 },
                { .address = SMALL, .granule = LARGE_BYTES, .count = UINT32_MAX },
        };
        struct device_extent extent = { .size = PAGE };
        struct scene *t = scene_new();
        struct device_range *r = NULL;

        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(t->b->range_new(t->w->d[0], &r, &bad[i]), -EINVAL);
        assert_null(r);
        t->b->range_free(NULL);
        assert_int_equal(t->b->range_map(t->small->seen[0], 16, extent, true), -EINVAL);
        assert_int_equal(t->b->range_map(t->middle->seen[0], 0, extent, true), -EINVAL);
        extent.offset = 8;
        assert_int_equal(t->b->range_map(t->small->seen[0], 0, extent, true), -EINVAL);
        assert_int_equal(t->b->space_show(t->s, t->small->seen[1], true), -EEXIST);
        t->b->range_invalidate(t->small->seen[0], 16); /* nothing is there */
        scene_free(t);
}

/* ---- with the CPU --------------------------------------------------------------------------------------- */

enum { ADDS = 3000 };

static void *adds_main(void *userdata) {
        for (int i = 0; i < ADDS; i++)
                __atomic_fetch_add((uint64_t *)userdata, 1, __ATOMIC_SEQ_CST);
        return NULL;
}

/* Host memory of the range is the client's too. */
static void test_atomic_adds_against_the_cpu(void **state) {
        struct device_op op = { .type = DEVICE_ATOMIC_ADD, .dst = SMALL + PAGE + 8, .value = 1ull << 32 };
        struct scene *t = scene_new();
        uint64_t *word;
        pthread_t cpu;

        managed_show(t->small, 1, 0, false, true);
        word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfile_fd(t->small->file), PAGE);
        assert_true(word != MAP_FAILED);
        assert_int_equal(pthread_create(&cpu, NULL, adds_main, &word[1]), 0);
        for (uint64_t i = 0; i < ADDS; i++)
                assert_int_equal(run(t->w, t->s, op)->value >> 32, i);
        pthread_join(cpu, NULL);
        assert_int_equal(word[1], (uint64_t)ADDS << 32 | ADDS);
        munmap(word, PAGE);
        scene_free(t);
}

/* ---- memory runs out ------------------------------------------------------------------------------------ */

static void test_allocations_fail(void **state) {
        struct device_range_args args = { .address = SMALL, .granule = PAGE, .count = 1 };
        struct device_extent extent = { .size = PAGE };
        struct scene *t = scene_new();
        struct device_space *s = NULL;
        struct device_range *r = NULL;
        int e = -ENOMEM;

        alloc_fail_at(1);
        assert_int_equal(t->b->range_new(t->w->d[0], &r, &args), -ENOMEM);
        alloc_fail_off();
        assert_null(r);

        extent.slot = memfile_slot(t->large->file);
        extent.size = LARGE_BYTES;
        for (unsigned long nth = 1; e < 0; nth++) {
                assert_true(nth < 100);
                alloc_fail_at(nth);
                e = t->b->range_map(t->large->seen[0], 1, extent, true);
                alloc_fail_off();
        }
        t->b->range_invalidate(t->large->seen[0], 1);
        alloc_fail_at(1); /* what was shown once can be shown again */
        assert_int_equal(t->b->range_map(t->large->seen[0], 1, extent, true), 0);
        alloc_fail_off();
        t->b->range_invalidate(t->large->seen[0], 1);

        assert_int_equal(t->b->space_new(t->w->d[0], &s), 0);
        for (unsigned long nth = 1; nth <= 2; nth++) {
                alloc_fail_at(nth);
                assert_int_equal(t->b->space_show(s, t->small->seen[0], true), -ENOMEM);
                alloc_fail_off();
                expect_code(run(t->w, s, sum(SMALL, 8)), SVMD_STATUS_NOT_MAPPED);
        }
        assert_int_equal(t->b->space_show(s, t->small->seen[0], false), 0);
        alloc_fail_at(1); /* another access and hiding need nothing */
        assert_int_equal(t->b->space_show(s, t->small->seen[0], true), 0);
        t->b->space_hide(s, t->small->seen[0]);
        alloc_fail_off();
        t->b->space_free(s);
        scene_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_asks_once_for_each_granule),
                cmocka_unit_test(test_what_was_taken_away_is_asked_for_again),
                cmocka_unit_test(test_an_answer_with_an_error_ends_the_operation),
                cmocka_unit_test(test_copy_keeps_its_source_while_it_asks),
                cmocka_unit_test(test_compare_keeps_its_first_side),
                cmocka_unit_test(test_chase_with_a_pointer_across_granules),
                cmocka_unit_test(test_others_go_on_and_the_order_is_kept),
                cmocka_unit_test(test_an_answer_inside_of_the_fault),
                cmocka_unit_test(test_no_lock_is_held),
                cmocka_unit_test(test_access),
                cmocka_unit_test(test_edges),
                cmocka_unit_test(test_explicit_mappings_come_first),
                cmocka_unit_test(test_mapped_over_while_it_asks),
                cmocka_unit_test(test_one_of_two_is_mapped_over_while_it_asks),
                cmocka_unit_test(test_sparse_is_under_managed),
                cmocka_unit_test(test_hide_waits_for_the_answer),
                cmocka_unit_test(test_hide_waits_for_who_holds),
                cmocka_unit_test(test_hide_between_end_and_the_lock),
                cmocka_unit_test(test_hide_of_another_range_does_not_wait),
                cmocka_unit_test(test_space_free_waits_for_the_answer),
                cmocka_unit_test(test_a_translation_that_is_wrong),
                cmocka_unit_test(test_more_access_meanwhile),
                cmocka_unit_test(test_a_file_that_refuses),
                cmocka_unit_test(test_refused_arguments),
                cmocka_unit_test(test_atomic_adds_against_the_cpu),
                cmocka_unit_test(test_allocations_fail),
        };
        const char *seed = getenv("SVMD_SEED");

        random_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
