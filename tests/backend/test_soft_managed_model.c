#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "managed_world.h"
#include "proto/status.h"

/*
 * Spaces of three nodes operate on the same managed ranges while two threads move the granules, take them away, and
 * answer faults late, in the fault itself, or with errors.
 *
 * The model knows every byte. Each space ("actor") has parcels of the ranges of its own, which are not aligned to
 * granules, so that others use the same granules and nobody the same bytes; and memory of its own. Pages of that it
 * maps now and then in the middle of a parcel, over the managed range.
 */
enum { ACTORS = 5, OWN_PAGES = 40, OVER_PAGE = 36, ROUNDS = 600 };

#define VA  0x280000000000ull
#define OWN (VA + (1ull << 40))
#define FAR (VA + (2ull << 40))

static const struct {
        uint64_t address;
        uint32_t bytes, count, slots;
        uint64_t parcel;
} shapes[RANGES] = {
        { VA, PAGE, 400, 150, 36872 },
        { VA + (1ull << 30), 64 * 1024, 12, 5, 100008 },
        { VA + (2ull << 30), 2 * 1024 * 1024, 3, 2, 700008 },
};

static const uint32_t node_of[ACTORS] = { 0, 1, 2, 2, 2 };

struct actor {
        uint32_t index, node;
        struct device_space *s;
        struct memfile *own;
        uint8_t model[OWN_PAGES * PAGE];
        uint64_t over[RANGES]; /* where a page of its own is mapped over a range, when it is */
        bool is_over[RANGES], readonly[RANGES];
        bool hidden[RANGES]; /* at some time of the round */
        struct device_op ops[4];
        uint64_t first;
        unsigned count;
};

struct play {
        struct world *w;
        const struct backend *b;
        struct actor actor[ACTORS];
        uint8_t *bytes[RANGES];
        unsigned ends[64]; /* operations that ended with that code */
};

static uint64_t size_of(int i) {
        return (uint64_t)shapes[i].bytes * shapes[i].count;
}

static void map_own(struct play *p, struct actor *a, uint64_t va, uint64_t page, uint64_t pages) {
        struct device_extent extent = { .slot = memfile_slot(a->own), .offset = page * PAGE, .size = pages * PAGE };

        assert_int_equal(p->b->map(a->s, va, &extent, 1, (struct map_attrs){ .access = 3 }), 0);
}

static void show(struct play *p, struct actor *a, int i) {
        assert_int_equal(p->b->space_show(a->s, p->w->range[i].seen[a->node], !a->readonly[i]), 0);
}

static void actor_new(struct play *p, uint32_t index) {
        struct actor *a = &p->actor[index];

        a->index = index;
        a->node = node_of[index];
        a->readonly[1] = index == 1;
        assert_int_equal(p->b->space_new(p->w->d[a->node], &a->s), 0);
        assert_int_equal(memfile_new(&a->own, "own", OWN_PAGES * PAGE, -1, index % 2), 0);
        map_own(p, a, OWN, 0, OVER_PAGE);
        for (int i = 0; i < RANGES; i++) {
                a->over[i] = (shapes[i].address + index * shapes[i].parcel + 2 * PAGE - 1) / PAGE * PAGE;
                show(p, a, i);
        }
}

static struct play *play_new(void) {
        struct play *p = calloc(1, sizeof(*p));

        p->w = world_new(true);
        p->b = p->w->b;
        p->w->single[2] = false;
        p->w->inside = 30;
        for (int i = 0; i < RANGES; i++) {
                managed_new(p->w, (unsigned)i, shapes[i].address, shapes[i].bytes, shapes[i].count, shapes[i].slots);
                p->bytes[i] = calloc(1, size_of(i));
        }
        for (uint32_t i = 0; i < ACTORS; i++)
                actor_new(p, i);
        movers_start(p->w);
        return p;
}

static void play_free(struct play *p) {
        for (int i = 0; i < ACTORS; i++)
                p->b->space_free(p->actor[i].s);
        world_free(p->w);
        for (int i = 0; i < ACTORS; i++)
                memfile_free(p->actor[i].own);
        for (int i = 0; i < RANGES; i++)
                free(p->bytes[i]);
        free(p);
}

/* ---- the model ------------------------------------------------------------------------------------------ */

/* -1: none. */
static int range_at(uint64_t va) {
        for (int i = 0; i < RANGES; i++)
                if (va >= shapes[i].address && va - shapes[i].address < size_of(i))
                        return i;
        return -1;
}

static bool over_at(const struct actor *a, uint64_t va) {
        int i = range_at(va);

        return i >= 0 && a->is_over[i] && va - a->over[i] < PAGE;
}

static uint8_t *byte_at(struct play *p, struct actor *a, uint64_t va) {
        int i = range_at(va);

        if (i < 0)
                return &a->model[va - OWN];
        if (over_at(a, va))
                return &a->model[(uint64_t)(OVER_PAGE + i) * PAGE + va - a->over[i]];
        return &p->bytes[i][va - shapes[i].address];
}

static bool may_write(const struct actor *a, uint64_t va) {
        int i = range_at(va);

        return i < 0 || !a->readonly[i] || over_at(a, va);
}

static void model_write(struct play *p, struct actor *a, uint64_t va, uint8_t byte) {
        assert_true(may_write(a, va));
        *byte_at(p, a, va) = byte;
}

static uint64_t model_word(struct play *p, struct actor *a, uint64_t va) {
        uint64_t word = 0;

        for (unsigned i = 0; i < 8; i++)
                word |= (uint64_t)*byte_at(p, a, va + i) << (8 * i);
        return word;
}

static uint64_t model_add(struct play *p, struct actor *a, uint64_t va, uint64_t value) {
        uint64_t before = model_word(p, a, va), after = before + value;

        for (unsigned i = 0; i < 8; i++)
                model_write(p, a, va + i, (uint8_t)(after >> (8 * i)));
        return before;
}

/* The first `size` bytes of it; gives the value. */
static uint64_t model_run(struct play *p, struct actor *a, const struct device_op *op, uint64_t size) {
        uint64_t value = 0;

        switch (op->type) {
        case DEVICE_FILL:
                for (uint64_t i = 0; i < size; i++)
                        model_write(p, a, op->dst + i, (uint8_t)op->value);
                break;
        case DEVICE_COPY:
                for (uint64_t i = 0; i < size; i++)
                        model_write(p, a, op->dst + i, *byte_at(p, a, op->src + i));
                break;
        case DEVICE_COMPARE:
                while (value < size && *byte_at(p, a, op->dst + value) == *byte_at(p, a, op->src + value))
                        value++;
                break;
        case DEVICE_SUM:
                for (uint64_t i = 0; i < size; i += 8)
                        value += model_word(p, a, op->src + i);
                break;
        case DEVICE_ATOMIC_ADD: value = size ? model_add(p, a, op->dst, op->value) : 0; break;
        case DEVICE_CHASE: break;
        }
        return value;
}

static uint64_t op_size(const struct device_op *op) {
        return op->type == DEVICE_ATOMIC_ADD ? 8 : op->size;
}

/* What of it was done before it failed where it says. */
static uint64_t done_of(const struct device_op *op, const struct device_result *got) {
        uint64_t done = 0;

        if (op->type == DEVICE_FILL || op->type == DEVICE_ATOMIC_ADD || (op->type == DEVICE_COPY && got->write))
                done = got->address - op->dst;
        else if (op->type == DEVICE_COPY)
                done = got->address - op->src;
        assert_true(done < op_size(op));
        return done;
}

static void expect_failure(struct play *p, struct actor *a, const struct device_result *got) {
        int i = range_at(got->address);

        assert_true(i >= 0 && got->text[0] != '\0');
        assert_int_equal(got->value, 0);
        assert_false(over_at(a, got->address));
        if (got->code == SVMD_STATUS_NO_ROOM)
                assert_true(p->w->errors > 0);
        else if (got->code == SVMD_STATUS_ACCESS)
                assert_true(got->write && a->readonly[i]);
        else if (got->code == SVMD_STATUS_NOT_MAPPED)
                assert_true(a->hidden[i]);
        else
                expect_code(got, SVMD_STATUS_OK);
}

static void expect_result(struct play *p, struct actor *a, const struct device_op *op,
                          const struct device_result *got) {
        uint64_t value;

        p->ends[got->code]++;
        if (got->code == SVMD_STATUS_OK) {
                value = model_run(p, a, op, op_size(op));
                assert_int_equal(got->value, value);
        } else {
                expect_failure(p, a, got);
                model_run(p, a, op, done_of(op, got));
        }
}

static void check_memory(struct play *p) {
        uint8_t *bytes = malloc(size_of(2));

        for (int i = 0; i < RANGES; i++) {
                managed_read(&p->w->range[i], 0, bytes, size_of(i));
                assert_memory_equal(bytes, p->bytes[i], size_of(i));
        }
        for (int i = 0; i < ACTORS; i++) {
                assert_int_equal(memfile_read(memfile_slot(p->actor[i].own), 0, bytes, sizeof(p->actor[i].model)), 0);
                assert_memory_equal(bytes, p->actor[i].model, sizeof(p->actor[i].model));
        }
        free(bytes);
}

/* ---- random operations ---------------------------------------------------------------------------------- */

/* A place of the actor's, and how much follows it. */
static uint64_t random_place(const struct actor *a, uint64_t multiple, uint64_t *ret_left) {
        int i = (int)rnd(RANGES + 1);
        uint64_t start = OWN, size = OVER_PAGE * PAGE, at;

        if (i < RANGES) {
                uint64_t parcels = size_of(i) / shapes[i].parcel, mine = (parcels - a->index + ACTORS - 1) / ACTORS;

                start = shapes[i].address + (a->index + rnd(mine) * ACTORS) * shapes[i].parcel;
                size = shapes[i].parcel;
        }
        at = rnd(size / multiple) * multiple;
        *ret_left = size - at;
        return start + at;
}

static struct device_op random_op(const struct actor *a) {
        static const enum device_op_type types[] = { DEVICE_FILL,    DEVICE_COPY, DEVICE_COPY,
                                                     DEVICE_COMPARE, DEVICE_SUM,  DEVICE_ATOMIC_ADD };
        static const uint64_t sizes[] = { 64, 3 * PAGE, 3 * PAGE, 150000 };
        struct device_op op = { .type = types[rnd(6)], .value = rnd(1u << 20) };
        uint64_t multiple = op.type >= DEVICE_SUM ? 8 : 1, left, right, most = sizes[rnd(4)];

        do {
                op.dst = random_place(a, multiple, &left);
                op.src = random_place(a, multiple, &right);
                left = left < right ? left : right;
                op.size = (1 + rnd((left < most ? left : most) / multiple)) * multiple;
                op.size = op.size < left ? op.size : left / multiple * multiple;
        } while (op.size == 0 || (op.type == DEVICE_COPY && op.dst < op.src + op.size && op.src < op.dst + op.size));
        return op;
}

static void toggle_over(struct play *p, struct actor *a) {
        int i = (int)rnd(RANGES);

        a->is_over[i] = !a->is_over[i];
        if (a->is_over[i])
                map_own(p, a, a->over[i], (uint64_t)OVER_PAGE + (uint64_t)i, 1);
        else
                p->b->unmap(a->s, a->over[i], PAGE);
}

static void submit_some(struct play *p, struct actor *a) {
        a->first = p->w->next_fence;
        a->count = (unsigned)rnd(5);
        for (unsigned k = 0; k < a->count; k++) {
                a->ops[k] = random_op(a);
                submit(p->w, a->s, a->ops[k]);
        }
}

/* While operations run: a translation that none of them uses, and now and then a range that they use. */
static void change_spaces(struct play *p) {
        struct actor *a = &p->actor[rnd(ACTORS)];
        int i = (int)rnd(RANGES);

        for (uint64_t n = rnd(10); n > 0; n--) {
                map_own(p, a, FAR, 0, 4);
                p->b->unmap(a->s, FAR, 4 * PAGE);
        }
        if (rnd(4))
                return;
        p->b->space_hide(a->s, p->w->range[i].seen[a->node]);
        a->hidden[i] = true;
        if (p->w->single[a->node])
                expect_hidden(&p->w->range[i], a->node);
}

static void show_again(struct play *p, struct actor *a) {
        for (int i = 0; i < RANGES; i++) {
                if (!a->hidden[i])
                        continue;
                a->hidden[i] = false;
                expect_seen(&p->w->range[i], a->node);
                show(p, a, i);
        }
}

static void play_round(struct play *p) {
        fences_anew(p->w, ACTORS * 4);
        for (int i = 0; i < ACTORS; i++) {
                if (rnd(3) == 0)
                        toggle_over(p, &p->actor[i]);
                submit_some(p, &p->actor[i]);
        }
        change_spaces(p);
        for (int i = 0; i < ACTORS; i++) {
                struct actor *a = &p->actor[i];

                for (unsigned k = 0; k < a->count; k++)
                        expect_result(p, a, &a->ops[k], await(p->w, a->first + k));
                show_again(p, a);
        }
}

static void test_random_operations(void **state) {
        struct play *p = play_new();

        for (int round = 0; round < ROUNDS; round++) {
                p->w->errors = round % 100 < 20 ? 10 : 0;
                play_round(p);
                if (round % 100 == 99)
                        check_memory(p);
        }
        movers_stop(p->w);
        /* all that can happen has happened */
        assert_true(p->ends[SVMD_STATUS_OK] > ROUNDS);
        assert_true(p->ends[SVMD_STATUS_NO_ROOM] > 0);
        assert_true(p->ends[SVMD_STATUS_ACCESS] > 0);
        assert_true(p->ends[SVMD_STATUS_NOT_MAPPED] > 0);
        assert_true(p->w->begun > 0 && p->w->refused > p->w->answered && p->w->moved > 0);
        play_free(p);
}

/* ---- what all of them do together ----------------------------------------------------------------------- */

static void test_atomic_adds_of_all(void **state) {
        enum { ADDS = 120, WORDS = 6 };
        struct play *p = play_new();
        uint64_t words[WORDS], word, last = 0;

        p->actor[1].readonly[1] = false;
        show(p, &p->actor[1], 1);
        for (unsigned i = 0; i < WORDS; i++)
                words[i] = rnd(size_of(i % RANGES) / 8) * 8;
        for (unsigned n = 0; n < ADDS * ACTORS * WORDS; n++)
                last = submit(
                        p->w, p->actor[n % ACTORS].s,
                        (struct device_op){ .type = DEVICE_ATOMIC_ADD,
                                            .dst = shapes[n / ACTORS % RANGES].address + words[n / ACTORS % WORDS],
                                            .value = 3 });
        for (uint64_t fence = 1; fence <= last; fence++)
                expect_code(await(p->w, fence), SVMD_STATUS_OK);
        for (unsigned i = 0; i < WORDS; i++) {
                managed_read(&p->w->range[i % RANGES], words[i], &word, 8);
                assert_int_equal(word, ADDS * ACTORS * 3);
        }
        play_free(p);
}

/* A chain through random records of 24 bytes: many of their pointers lie across two granules. */
static void build_chain(struct play *p, uint64_t records, uint64_t *ret_first, uint64_t *ret_last) {
        uint64_t *order = malloc(records * sizeof(*order));

        for (uint64_t i = 0; i < records; i++)
                order[i] = i;
        for (uint64_t i = records - 1; i > 0; i--) {
                uint64_t k = rnd(i + 1), t = order[i];

                order[i] = order[k];
                order[k] = t;
        }
        for (uint64_t i = 0; i < records; i++) {
                uint64_t next = i + 1 < records ? VA + order[i + 1] * 24 : 0;

                memcpy(p->bytes[0] + order[i] * 24 + 12, &next, 8);
        }
        managed_write(&p->w->range[0], 0, p->bytes[0], size_of(0));
        *ret_first = VA + order[0] * 24;
        *ret_last = VA + order[records - 1] * 24;
        free(order);
}

static void test_chase(void **state) {
        struct play *p = play_new();
        const uint64_t records = 3000;
        struct device_op op = { .type = DEVICE_CHASE, .size = UINT64_MAX, .value = 12 };
        uint64_t last, fence[ACTORS];

        build_chain(p, records, &op.src, &last);
        for (int i = 0; i < ACTORS; i++)
                fence[i] = submit(p->w, p->actor[i].s, op);
        for (int i = 0; i < ACTORS; i++) {
                const struct device_result *r = await(p->w, fence[i]);

                expect_code(r, SVMD_STATUS_OK);
                assert_int_equal(r->value, records - 1);
                assert_int_equal(r->address, last);
        }
        play_free(p);
}

/* ---- spaces come and go --------------------------------------------------------------------------------- */

static void expect_gone(struct play *p, uint64_t first, bool hid) {
        for (uint64_t fence = first; fence < p->w->next_fence; fence++) {
                unsigned code = p->w->results[fence].code;

                assert_int_equal(p->w->times[fence], 1);
                p->ends[code]++;
                assert_true(code == SVMD_STATUS_OK || code == SVMD_STATUS_GONE || code == SVMD_STATUS_NO_ROOM ||
                            (hid && code == SVMD_STATUS_NOT_MAPPED));
        }
}

static void test_spaces_come_and_go(void **state) {
        struct play *p = play_new();
        struct actor *a = &p->actor[0];

        p->w->errors = 5;
        for (int round = 0; round < 300; round++) {
                bool hid = rnd(2);
                int i = (int)rnd(RANGES);
                uint64_t first;

                p->b->space_free(a->s);
                for (int k = 0; k < RANGES; k++) {
                        expect_hidden(&p->w->range[k], a->node);
                        expect_seen(&p->w->range[k], a->node);
                }
                assert_int_equal(p->b->space_new(p->w->d[a->node], &a->s), 0);
                map_own(p, a, OWN, 0, OVER_PAGE);
                for (int k = 0; k < RANGES; k++)
                        show(p, a, k);
                fences_anew(p->w, 4);
                first = p->w->next_fence;
                submit_some(p, a);
                for (volatile uint64_t n = rnd(20000); n > 0; n--)
                        ;
                if (hid) {
                        p->b->space_hide(a->s, p->w->range[i].seen[a->node]);
                        expect_hidden(&p->w->range[i], a->node);
                }
                p->b->space_free(a->s);
                expect_gone(p, first, hid);
                a->s = NULL;
        }
        assert_true(p->ends[SVMD_STATUS_GONE] > 0);
        play_free(p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_operations),
                cmocka_unit_test(test_atomic_adds_of_all),
                cmocka_unit_test(test_chase),
                cmocka_unit_test(test_spaces_come_and_go),
        };
        const char *seed = getenv("SVMD_SEED");

        random_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
