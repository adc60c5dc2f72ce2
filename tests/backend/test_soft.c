#include "backend/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/imap.h"
#include "proto/status.h"

/*
 * A device with one space, a pool (reached directly) and a file (reached by system calls). The CPU's side of each
 * check reads the memory through memfile_base() and memfile_read(), never through the device.
 */
enum { PAGE = 4096, POOL_PAGES = 256, FILE_PAGES = 64, FENCES = 8192 };

#define VA   0x280000000000ull
#define TIB  (1ull << 40)
#define RW   ((struct map_attrs){ .access = 3 })
#define RO   ((struct map_attrs){ .access = 1 })
#define NONE ((struct map_attrs){ .access = 0 })

struct world {
        const struct backend *b;
        struct device *d;
        struct device_space *s;
        struct memfile *pool, *file;
        char *base;
        uint64_t next_fence;

        pthread_mutex_t lock;
        pthread_cond_t cond;
        struct device_result results[FENCES];
        unsigned times[FENCES];
        uint64_t order[FENCES], ended;
};

static uint64_t random_state;

static bool threads_fail;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *userdata);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *userdata);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *userdata) {
        return threads_fail ? EAGAIN : __real_pthread_create(thread, attr, entry, userdata);
}

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static void pause_a_little(void) {
        for (volatile uint64_t i = rnd(20000); i > 0; i--)
                ;
}

static void on_done(void *userdata, const struct device_result *result) {
        struct world *w = userdata;

        pthread_mutex_lock(&w->lock);
        w->results[result->fence] = *result;
        w->times[result->fence]++;
        w->order[w->ended++] = result->fence;
        pthread_cond_broadcast(&w->cond);
        pthread_mutex_unlock(&w->lock);
}

static void world_new_named(struct world *w, const char *name, bool faults) {
        struct node_desc desc = { .kind = NODE_SOFT, .faults = faults, .capacity = POOL_PAGES * PAGE };

        memset(w, 0, sizeof(*w));
        snprintf(desc.name, sizeof(desc.name), "%s", name);
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->cond, NULL);
        w->b = backend_for(NODE_SOFT);
        assert_non_null(w->b);
        assert_int_equal(w->b->device_new(&w->d, &desc, on_done, w), 0);
        assert_int_equal(w->b->space_new(w->d, &w->s), 0);
        assert_int_equal(memfile_new(&w->pool, "pool", POOL_PAGES * PAGE, -1, true), 0);
        assert_int_equal(memfile_new(&w->file, "file", FILE_PAGES * PAGE, -1, false), 0);
        w->base = memfile_base(memfile_slot(w->pool));
        w->next_fence = 1;
}

static struct world *world_new(void) {
        struct world *w = malloc(sizeof(*w));

        world_new_named(w, "gpu0", true);
        return w;
}

static void world_free(struct world *w) {
        w->b->space_free(w->s);
        w->b->device_free(w->d);
        memfile_free(w->pool);
        memfile_free(w->file);
        pthread_cond_destroy(&w->cond);
        pthread_mutex_destroy(&w->lock);
        free(w);
}

static void set_sparse(struct world *w, struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes) {
        struct imap_spare spare;

        assert_int_equal(imap_spare_get(&spare), 0);
        w->b->sparse(s, va, size, writes, &spare);
        imap_spare_put(&spare);
}

static const struct device_result *await(struct world *w, uint64_t fence) {
        struct timespec deadline;

        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += 30;
        pthread_mutex_lock(&w->lock);
        while (w->times[fence] == 0)
                assert_int_equal(pthread_cond_timedwait(&w->cond, &w->lock, &deadline), 0);
        pthread_mutex_unlock(&w->lock);
        assert_int_equal(w->times[fence], 1);
        return &w->results[fence];
}

static uint64_t submit_in(struct world *w, struct device_space *s, struct device_op op) {
        assert_true(w->next_fence < FENCES);
        op.fence = w->next_fence++;
        assert_int_equal(w->b->submit(s, &op), 0);
        return op.fence;
}

/* All fences have been awaited: the next `count` have room. */
static void fences_anew(struct world *w, uint64_t count) {
        if (w->next_fence + count <= FENCES)
                return;
        pthread_mutex_lock(&w->lock);
        memset(w->times, 0, sizeof(w->times));
        w->ended = 0;
        w->next_fence = 1;
        pthread_mutex_unlock(&w->lock);
}

static const struct device_result *run(struct world *w, struct device_op op) {
        fences_anew(w, 1);
        return await(w, submit_in(w, w->s, op));
}

static void map_at(struct world *w, uint64_t va, const struct memfile *f, uint64_t page, uint64_t pages,
                   struct map_attrs attrs) {
        struct device_extent extent = { .slot = memfile_slot(f), .offset = page * PAGE, .size = pages * PAGE };

        assert_int_equal(w->b->map(w->s, va, &extent, 1, attrs), 0);
}

static void expect_code(const struct device_result *result, unsigned code) {
        if (result->code != code)
                print_error("%s: %s\n", status_name(result->code), result->text);
        assert_int_equal(result->code, code);
        assert_int_equal(result->text[0] == '\0', code == SVMD_STATUS_OK);
}

/* ---- random operations against the CPU ----------------------------------------------------------------- */

enum { WINDOW = 128 };

enum model_kind { SHOWS_NOTHING, SHOWS_POOL, SHOWS_FILE };

/* What each page of the window shows, and the bytes it must hold. No memory is shown twice. */
struct model {
        enum model_kind kind[WINDOW];
        enum sparse_writes sparse[WINDOW];
        unsigned page[WINDOW];
        uint8_t access[WINDOW];
        uint8_t pool[POOL_PAGES * PAGE], file[FILE_PAGES * PAGE];
        bool pool_used[POOL_PAGES], file_used[FILE_PAGES];
};

static uint8_t *model_byte(struct model *m, uint64_t at) {
        uint64_t i = at / PAGE;

        if (m->kind[i] == SHOWS_POOL)
                return &m->pool[m->page[i] * PAGE + at % PAGE];
        if (m->kind[i] == SHOWS_FILE)
                return &m->file[m->page[i] * PAGE + at % PAGE];
        return NULL;
}

static unsigned model_access(const struct model *m, uint64_t at, bool write) {
        uint64_t i = at / PAGE;

        if (m->kind[i] != SHOWS_NOTHING)
                return m->access[i] & (write ? 2 : 1) ? SVMD_STATUS_OK : SVMD_STATUS_ACCESS;
        if (m->sparse[i] == SPARSE_NONE)
                return SVMD_STATUS_NOT_MAPPED;
        return write && m->sparse[i] == SPARSE_WRITES_REFUSED ? SVMD_STATUS_ACCESS : SVMD_STATUS_OK;
}

static uint8_t model_read(struct model *m, uint64_t at) {
        const uint8_t *p = model_byte(m, at);

        return p ? *p : 0;
}

static void model_write(struct model *m, uint64_t at, uint8_t byte) {
        uint8_t *p = model_byte(m, at);

        if (p)
                *p = byte;
}

/* The outcome of an access, in `want` when it is refused. */
static bool model_ok(struct model *m, uint64_t at, bool write, struct device_result *want) {
        want->code = model_access(m, at, write);
        if (want->code == SVMD_STATUS_OK)
                return true;
        want->address = VA + at;
        want->write = write;
        want->value = 0;
        return false;
}

/* Byte by byte (word by word for a sum), with addresses relative to the window. */
static void model_run(struct model *m, const struct device_op *op, struct device_result *want) {
        uint64_t dst = op->dst - VA, src = op->src - VA;

        for (uint64_t i = 0; i < op->size; i++) {
                bool first_writes = op->type == DEVICE_FILL;

                if (op->type != DEVICE_COPY && op->type != DEVICE_SUM && !model_ok(m, dst + i, first_writes, want))
                        return;
                if (op->type != DEVICE_FILL && !model_ok(m, src + i, false, want))
                        return;
                if (op->type == DEVICE_COPY && !model_ok(m, dst + i, true, want))
                        return;
                if (op->type == DEVICE_FILL)
                        model_write(m, dst + i, (uint8_t)op->value);
                if (op->type == DEVICE_COPY)
                        model_write(m, dst + i, model_read(m, src + i));
                if (op->type == DEVICE_SUM)
                        want->value += (uint64_t)model_read(m, src + i) << (i % 8 * 8);
                if (op->type == DEVICE_COMPARE) {
                        want->value = i;
                        if (model_read(m, dst + i) != model_read(m, src + i))
                                return;
                        want->value = i + 1;
                }
        }
}

static void model_show(struct world *w, struct model *m, uint64_t i) {
        enum model_kind kind = rnd(2) ? SHOWS_POOL : SHOWS_FILE;
        unsigned pages = kind == SHOWS_POOL ? POOL_PAGES : FILE_PAGES, page = (unsigned)rnd(pages);
        bool *used = kind == SHOWS_POOL ? m->pool_used : m->file_used;
        uint8_t access = rnd(8) ? 3 : (uint8_t)rnd(2);

        /* most pages follow the one before, so that spans of several pages exist */
        if (i > 0 && m->kind[i - 1] == kind && rnd(4))
                page = (m->page[i - 1] + 1) % pages;
        while (used[page])
                page = (page + 1) % pages;
        used[page] = true;
        m->kind[i] = kind;
        m->page[i] = page;
        m->access[i] = access;
        map_at(w, VA + i * PAGE, kind == SHOWS_POOL ? w->pool : w->file, page, 1, (struct map_attrs){ access, 0, 0 });
}

static void model_hide(struct world *w, struct model *m, uint64_t i) {
        if (m->kind[i] != SHOWS_NOTHING)
                *(m->kind[i] == SHOWS_POOL ? &m->pool_used[m->page[i]] : &m->file_used[m->page[i]]) = false;
        m->kind[i] = SHOWS_NOTHING;
        w->b->unmap(w->s, VA + i * PAGE, PAGE);
}

static unsigned shown_of(const struct model *m, enum model_kind kind) {
        unsigned n = 0;

        for (int i = 0; i < WINDOW; i++)
                n += m->kind[i] == kind;
        return n;
}

static void change_translation(struct world *w, struct model *m) {
        uint64_t i = rnd(WINDOW), n = 1 + rnd(WINDOW - i < 16 ? WINDOW - i : 16);
        enum sparse_writes writes = (enum sparse_writes)rnd(3);

        if (rnd(4) == 0) {
                set_sparse(w, w->s, VA + i * PAGE, n * PAGE, writes);
                for (; n > 0; n--, i++)
                        m->sparse[i] = writes;
                return;
        }
        if (m->kind[i] != SHOWS_NOTHING && rnd(2)) {
                m->access[i] = rnd(2) ? 3 : 1;
                w->b->protect(w->s, VA + i * PAGE, PAGE, (struct map_attrs){ m->access[i], 0, 0 });
                return;
        }
        model_hide(w, m, i);
        if (rnd(16) && shown_of(m, SHOWS_FILE) < FILE_PAGES)
                model_show(w, m, i);
}

static void random_range(uint64_t *ret_at, uint64_t *ret_size, uint64_t multiple) {
        uint64_t at = rnd((uint64_t)WINDOW * PAGE - 8) / multiple * multiple;
        uint64_t left = (uint64_t)WINDOW * PAGE - at, most = rnd(2) ? 3 * PAGE : 40 * PAGE;

        *ret_at = VA + at;
        *ret_size = (1 + rnd((left < most ? left : most) / multiple)) * multiple;
        if (*ret_size > left)
                *ret_size = left;
}

static struct device_op random_op(void) {
        struct device_op op = { .type = DEVICE_FILL + (enum device_op_type)rnd(4), .value = rnd(1000) };
        uint64_t size;

        do {
                random_range(&op.dst, &op.size, op.type == DEVICE_SUM ? 8 : 1);
                random_range(&op.src, &size, op.type == DEVICE_SUM ? 8 : 1);
                op.size = op.size < size ? op.size : size;
        } while (op.type == DEVICE_COPY && op.dst < op.src + op.size && op.src < op.dst + op.size);
        return op;
}

static void check_memory(struct world *w, const struct model *m) {
        static uint8_t bytes[FILE_PAGES * PAGE];

        assert_memory_equal(w->base, m->pool, sizeof(m->pool));
        assert_int_equal(memfile_read(memfile_slot(w->file), 0, bytes, sizeof(bytes)), 0);
        assert_memory_equal(bytes, m->file, sizeof(bytes));
}

static void check_translation(struct world *w, const struct model *m) {
        struct device_translation t;

        for (uint64_t i = 0; i < WINDOW; i++) {
                uint64_t in_page = rnd(PAGE);

                w->b->translate(w->s, VA + i * PAGE + in_page, &t);
                assert_int_equal(t.valid, m->kind[i] != SHOWS_NOTHING);
                assert_int_equal(t.sparse, !t.valid && m->sparse[i] != SPARSE_NONE);
                if (!t.valid)
                        continue;
                assert_int_equal(t.attrs.access, m->access[i]);
                assert_int_equal(t.slot, memfile_slot(m->kind[i] == SHOWS_POOL ? w->pool : w->file));
                assert_int_equal(t.offset, (uint64_t)m->page[i] * PAGE + in_page);
        }
}

static void test_random_operations(void **state) {
        struct model *m = calloc(1, sizeof(*m));
        struct world *w = world_new();

        for (int round = 0; round < 3000; round++) {
                struct device_op op = random_op();
                struct device_result want = { 0 };
                const struct device_result *got;

                for (int i = 0; i < 6; i++)
                        change_translation(w, m);
                got = run(w, op);
                model_run(m, &op, &want);
                if (want.code != SVMD_STATUS_OK && op.type == DEVICE_SUM)
                        want.value = 0;
                expect_code(got, want.code);
                assert_int_equal(got->value, want.value);
                assert_int_equal(got->address, want.address);
                assert_int_equal(got->write, want.write);
                if (round % 50 == 0) {
                        check_memory(w, m);
                        check_translation(w, m);
                }
        }
        check_memory(w, m);
        assert_int_equal(w->b->ops_done(w->d), 3000);
        world_free(w);
        free(m);
}

/* ---- single operations --------------------------------------------------------------------------------- */

static void test_operations_refused(void **state) {
        static const struct {
                struct device_op op;
                unsigned code;
        } bad[] = {
                { { .type = DEVICE_FILL, .dst = VA }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_COPY, .dst = VA, .src = VA + PAGE }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_COMPARE, .dst = VA, .src = VA + PAGE }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_SUM, .src = VA }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_SUM, .src = VA, .size = 12 }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_SUM, .src = VA + 4, .size = 8 }, SVMD_STATUS_ALIGN },
                { { .type = DEVICE_CHASE, .src = VA }, SVMD_STATUS_SIZE },
                { { .type = DEVICE_CHASE, .src = VA, .size = 1, .value = UINT64_MAX - VA + 1 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_CHASE, .src = VA, .size = 1, .value = UINT64_MAX - VA }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_ATOMIC_ADD, .dst = VA + 4 }, SVMD_STATUS_ALIGN },
                { { .type = DEVICE_FILL, .dst = VA, .size = UINT64_MAX }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_FILL, .dst = UINT64_MAX - 3, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_COPY, .dst = VA, .src = UINT64_MAX - 3, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_COPY, .dst = UINT64_MAX - 3, .src = VA, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_COPY, .dst = VA, .src = VA + 7, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_COPY, .dst = VA + 7, .src = VA, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_COMPARE, .dst = VA, .src = UINT64_MAX - 3, .size = 8 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_SUM, .src = UINT64_MAX - 15, .size = 8 }, SVMD_STATUS_NOT_MAPPED },
                { { .type = DEVICE_SUM, .src = UINT64_MAX - 15, .size = 16 }, SVMD_STATUS_RANGE },
                { { .type = DEVICE_ATOMIC_ADD, .dst = VA + 64 * PAGE }, SVMD_STATUS_NOT_MAPPED },
                { { .type = (enum device_op_type)0, .dst = VA, .size = 8 }, SVMD_STATUS_INVALID },
                { { .type = (enum device_op_type)7, .dst = VA, .size = 8 }, SVMD_STATUS_INVALID },
        };
        struct world *w = world_new();

        map_at(w, VA, w->pool, 0, 16, RW);
        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                expect_code(run(w, bad[i].op), bad[i].code);
        for (unsigned i = 0; i < 16 * PAGE; i++)
                assert_int_equal(w->base[i], 0);
        world_free(w);
}

static void test_texts_name_node_and_address(void **state) {
        const struct device_op sum = { .type = DEVICE_SUM, .src = VA + 8, .size = 8 };
        const struct device_op fill = { .type = DEVICE_FILL, .dst = VA + 8, .size = 8 };
        struct world *w = world_new();

        assert_string_equal(run(w, sum)->text, "gpu0: read of 0x280000000008: nothing is mapped there in this space; "
                                               "map it first (explicit memory is never faulted in)");
        map_at(w, VA, w->pool, 0, 1, RO);
        assert_string_equal(run(w, fill)->text, "gpu0: write to 0x280000000008: the mapping there is read-only; set "
                                                "its access to read and write");
        world_free(w);

        w = malloc(sizeof(*w));
        world_new_named(w, "a-name-that-is-as-long-as-it-can", false);
        assert_non_null(strstr(run(w, fill)->text,
                               "this node has no faults: prefetch or map first")); /* the end was not cut off */
        set_sparse(w, w->s, VA, PAGE, SPARSE_WRITES_REFUSED);
        assert_non_null(strstr(run(w, fill)->text, "map memory first"));
        world_free(w);
}

static void test_access_and_protect(void **state) {
        const struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = 2 * PAGE };
        const struct device_op fill = { .type = DEVICE_FILL, .dst = VA, .size = 2 * PAGE, .value = 1 };
        const struct device_op add = { .type = DEVICE_ATOMIC_ADD, .dst = VA + PAGE, .value = 1 };
        struct world *w = world_new();
        const struct device_result *r;

        map_at(w, VA, w->pool, 0, 2, RO);
        expect_code(run(w, sum), SVMD_STATUS_OK);
        expect_code(run(w, fill), SVMD_STATUS_ACCESS);
        expect_code(run(w, add), SVMD_STATUS_ACCESS);
        w->b->protect(w->s, VA, PAGE, RW);
        r = run(w, fill);
        expect_code(r, SVMD_STATUS_ACCESS);
        assert_int_equal(r->address, VA + PAGE);
        assert_true(r->write);
        w->b->protect(w->s, VA + PAGE, PAGE, RW);
        expect_code(run(w, fill), SVMD_STATUS_OK);
        w->b->protect(w->s, VA, 2 * PAGE, NONE);
        expect_code(run(w, sum), SVMD_STATUS_ACCESS);
        assert_int_equal(w->base[2 * PAGE - 1], 1);
        world_free(w);
}

static void test_sparse(void **state) {
        const struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = 4 * PAGE };
        const struct device_op fill = { .type = DEVICE_FILL, .dst = VA, .size = 4 * PAGE, .value = 1 };
        const struct device_op add = { .type = DEVICE_ATOMIC_ADD, .dst = VA, .value = 1 };
        struct world *w = world_new();
        const struct device_result *r;

        set_sparse(w, w->s, VA, TIB, SPARSE_WRITES_DROPPED);
        map_at(w, VA + PAGE, w->pool, 5, 1, RW);
        expect_code(run(w, fill), SVMD_STATUS_OK);
        assert_int_equal(run(w, sum)->value, 0x0101010101010101ull * (PAGE / 8));
        r = run(w, add);
        expect_code(r, SVMD_STATUS_OK);
        assert_int_equal(r->value, 0);
        assert_int_equal(run(w, add)->value, 0);
        w->b->unmap(w->s, VA + PAGE, PAGE); /* what lies under it shows */
        assert_int_equal(run(w, sum)->value, 0);
        assert_int_equal(w->base[5 * PAGE], 1);

        set_sparse(w, w->s, VA + PAGE, PAGE, SPARSE_WRITES_REFUSED);
        r = run(w, fill);
        expect_code(r, SVMD_STATUS_ACCESS);
        assert_int_equal(r->address, VA + PAGE);
        expect_code(run(w, sum), SVMD_STATUS_OK);
        set_sparse(w, w->s, VA, TIB, SPARSE_NONE);
        expect_code(run(w, sum), SVMD_STATUS_NOT_MAPPED);
        world_free(w);
}

static void test_atomic_add(void **state) {
        struct world *w = world_new();
        uint64_t word;

        map_at(w, VA, w->pool, 0, 1, RW);
        map_at(w, VA + PAGE, w->file, 3, 1, RW);
        for (uint64_t page = 0; page < 2; page++) {
                struct device_op op = { .type = DEVICE_ATOMIC_ADD, .dst = VA + page * PAGE + 16, .value = 5 };

                for (uint64_t i = 0; i < 10; i++)
                        assert_int_equal(run(w, op)->value, i * 5);
        }
        memcpy(&word, w->base + 16, 8);
        assert_int_equal(word, 50);
        assert_int_equal(memfile_read(memfile_slot(w->file), 3 * PAGE + 16, &word, 8), 0);
        assert_int_equal(word, 50);
        world_free(w);
}

/* A cycle-free chain through random records of 24 bytes, some of them across two pages. Returns its length. */
static uint64_t build_chain(struct world *w, uint64_t records, uint64_t *ret_first, uint64_t *ret_last) {
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

                memcpy(w->base + order[i] * 24 + 12, &next, 8);
        }
        *ret_first = order[0] * 24;
        *ret_last = VA + order[records - 1] * 24;
        free(order);
        return records - 1;
}

static void test_chase(void **state) {
        const uint64_t pages = 64, second = VA + (1ull << 33);
        struct world *w = world_new();
        uint64_t first, last, hops = build_chain(w, pages * PAGE / 24, &first, &last);
        struct device_op op = { .type = DEVICE_CHASE, .size = UINT64_MAX, .value = 12 };
        const struct device_result *r;

        map_at(w, VA, w->pool, 0, pages, RO);
        op.src = VA + first;
        r = run(w, op);
        expect_code(r, SVMD_STATUS_OK);
        assert_int_equal(r->value, hops);
        assert_int_equal(r->address, last);

        /* the same memory at another address of the same space */
        map_at(w, second, w->pool, 0, pages, RO);
        op.src = second + first;
        r = run(w, op);
        expect_code(r, SVMD_STATUS_OK);
        assert_int_equal(r->value, hops);
        assert_int_equal(r->address, last);

        op.size = 300; /* more than one chunk, less than all */
        r = run(w, op);
        assert_int_equal(r->value, 300);

        /* without the pages that the pointers name, the chase ends where it leaves what is mapped */
        w->b->unmap(w->s, VA, pages * PAGE);
        r = run(w, op);
        expect_code(r, SVMD_STATUS_NOT_MAPPED);
        assert_true(r->address >= VA && r->address < VA + pages * PAGE);
        assert_false(r->write);
        world_free(w);
}

/* The same addresses mean different memory in two spaces. */
static void test_two_spaces(void **state) {
        struct world *w = world_new();
        struct device_extent extent = { .slot = memfile_slot(w->pool), .offset = 8 * PAGE, .size = PAGE };
        const struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = 8 };
        struct device_space *other;
        uint64_t word = 11;

        assert_int_equal(w->b->space_new(w->d, &other), 0);
        map_at(w, VA, w->pool, 0, 1, RW);
        memcpy(w->base, &word, 8);
        word = 22;
        memcpy(w->base + 8 * PAGE, &word, 8);
        expect_code(await(w, submit_in(w, other, sum)), SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(w->b->map(other, VA, &extent, 1, RO), 0);
        assert_int_equal(await(w, submit_in(w, other, sum))->value, 22);
        assert_int_equal(run(w, sum)->value, 11);
        w->b->space_free(other);
        assert_int_equal(run(w, sum)->value, 11);
        world_free(w);
}

static void test_extents_of_one_mapping(void **state) {
        struct world *w = world_new();
        struct device_extent extents[] = {
                { .slot = memfile_slot(w->pool), .offset = 9 * PAGE, .size = 2 * PAGE },
                { .slot = memfile_slot(w->file), .offset = 1 * PAGE, .size = 1 * PAGE },
                { .slot = memfile_slot(w->pool), .offset = 3 * PAGE, .size = 1 * PAGE },
        };
        struct map_attrs attrs = { .access = 3, .pat = 4, .kind = 200 };
        struct device_translation t;

        assert_int_equal(w->b->map(w->s, VA, extents, 3, attrs), 0);
        expect_code(run(w, (struct device_op){ .type = DEVICE_FILL, .dst = VA, .size = 4 * PAGE, .value = 0x107 }),
                    SVMD_STATUS_OK);
        for (unsigned i = 0; i < 16 * PAGE; i++)
                assert_int_equal(w->base[i], i / PAGE == 9 || i / PAGE == 10 || i / PAGE == 3 ? 7 : 0);
        w->b->translate(w->s, VA + 2 * PAGE + 5, &t);
        assert_true(t.valid);
        assert_int_equal(t.slot, memfile_slot(w->file));
        assert_int_equal(t.offset, PAGE + 5);
        assert_int_equal(t.attrs.pat, 4);
        assert_int_equal(t.attrs.kind, 200);
        assert_int_equal(w->b->map(w->s, (1ull << 48) - PAGE, extents, 1, RW), -EINVAL);
        world_free(w);
}

static void test_attrs(void **state) {
        static const struct {
                struct map_attrs attrs;
                const char *says; /* NULL: they are fine */
        } cases[] = {
                { { 3, 15, 255 }, NULL },      { { 0, 0, 0 }, NULL },       { { 1, 3, 0 }, NULL },
                { { 2, 0, 0 }, "access 2" },   { { 4, 0, 0 }, "access 4" }, { { 3, 16, 0 }, "pat 16" },
                { { 3, 0, 256 }, "kind 256" },
        };
        const struct backend *soft = backend_for(NODE_SOFT), *host = backend_for(NODE_HOST);
        char why[128];

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(soft->attrs_ok(&cases[i].attrs, why, sizeof(why)), cases[i].says == NULL);
                if (cases[i].says)
                        assert_non_null(strstr(why, cases[i].says));
        }
        assert_true(host->attrs_ok(&cases[1].attrs, why, sizeof(why)));
        assert_false(host->attrs_ok(&cases[0].attrs, why, sizeof(why)));
        assert_false(host->has_spaces);
        assert_null(backend_for((enum node_kind)0));
}

/* ---- queues -------------------------------------------------------------------------------------------- */

/* An operation that takes longer than the test: it reads a sparse range without end. */
static uint64_t submit_endless(struct world *w, struct device_space *s) {
        const uint64_t va = VA + TIB;

        set_sparse(w, s, va, 16 * TIB, SPARSE_WRITES_DROPPED);
        return submit_in(w, s, (struct device_op){ .type = DEVICE_SUM, .src = va, .size = 16 * TIB });
}

static void test_queue_full_and_space_free(void **state) {
        struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = 8 };
        struct world *w = world_new();
        struct device_space *busy;
        uint64_t first, last;

        assert_int_equal(w->b->space_new(w->d, &busy), 0);
        map_at(w, VA, w->pool, 0, 1, RW);
        first = submit_endless(w, busy);
        for (last = first; last < first + 1023;)
                last = submit_in(w, busy, sum);
        assert_int_equal(w->b->submit(busy, &sum), -EAGAIN);

        /* the long operation of one space does not hold up another, nor who changes its translation */
        expect_code(run(w, sum), SVMD_STATUS_OK);
        for (int i = 0; i < 500; i++) {
                struct device_extent extent = { .slot = memfile_slot(w->pool), .size = PAGE };

                assert_int_equal(w->b->map(busy, VA, &extent, 1, RW), 0);
                w->b->unmap(busy, VA, PAGE);
        }
        assert_int_equal(w->times[first], 0);

        w->b->space_free(busy);
        for (uint64_t fence = first; fence <= last; fence++) {
                assert_int_equal(w->times[fence], 1);
                expect_code(&w->results[fence], SVMD_STATUS_GONE);
        }
        expect_code(run(w, sum), SVMD_STATUS_OK);
        assert_int_equal(w->b->ops_done(w->d), 2);
        world_free(w);
}

/* Whether it runs at that moment or waits for its turn behind another space. */
static void test_space_free_at_any_moment(void **state) {
        struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = 8 };
        struct world *w = world_new();
        struct device_space *other;
        unsigned gone = 0;

        submit_endless(w, w->s);
        for (int round = 0; round < 200; round++) {
                uint64_t first = w->next_fence;

                assert_int_equal(w->b->space_new(w->d, &other), 0);
                for (int i = 0; i < 20; i++)
                        submit_in(w, other, sum);
                pause_a_little();
                w->b->space_free(other);
                for (uint64_t fence = first; fence < w->next_fence; fence++) {
                        assert_int_equal(w->times[fence], 1);
                        gone += w->results[fence].code == SVMD_STATUS_GONE;
                        if (w->results[fence].code != SVMD_STATUS_GONE)
                                expect_code(&w->results[fence], SVMD_STATUS_NOT_MAPPED);
                }
        }
        assert_true(gone > 0);
        world_free(w);
}

static void test_operations_of_a_space_keep_their_order(void **state) {
        struct world *w = world_new();
        uint64_t fence = 0;

        map_at(w, VA, w->pool, 0, POOL_PAGES, RW);
        for (uint64_t i = 0; i < 500; i++) /* each fills all; the last one stays */
                fence = submit_in(w, w->s,
                                  (struct device_op){ .type = DEVICE_FILL,
                                                      .dst = VA + i % 7,
                                                      .size = rnd(4) ? 100 : POOL_PAGES * PAGE - 7,
                                                      .value = i });
        await(w, fence);
        for (uint64_t i = 0; i < 500; i++)
                assert_int_equal(w->order[i], i + 1);
        assert_int_equal((uint8_t)w->base[50], 499 & 0xff);
        world_free(w);
}

static void test_many_idle_devices(void **state) {
        struct world *w[32];

        for (int i = 0; i < 32; i++)
                w[i] = world_new();
        for (int i = 0; i < 32; i++) {
                map_at(w[i], VA, w[(i + 1) % 32]->pool, 0, 1, RW); /* a peer's memory */
                expect_code(
                        run(w[i],
                            (struct device_op){ .type = DEVICE_FILL, .dst = VA, .size = 8, .value = (uint64_t)i + 1 }),
                        SVMD_STATUS_OK);
        }
        for (int i = 0; i < 32; i++)
                assert_int_equal(w[(i + 1) % 32]->base[7], i + 1);
        for (int i = 0; i < 32; i++) {
                w[i]->b->unmap(w[i]->s, VA, PAGE);
                world_free(w[i]);
        }
}

/* ---- stale translations -------------------------------------------------------------------------------- */

enum { STALE_PAGES = 64, STALE_ROUNDS = 3000 };

/* Writes: once unmap() or protect() has returned, the pages may belong to somebody else and must not change. */
static void test_no_write_through_a_stale_translation(void **state) {
        struct device_op fill = { .type = DEVICE_FILL, .dst = VA, .size = STALE_PAGES * PAGE, .value = 0x11 };
        struct world *w = world_new();
        uint64_t fence = 0;

        for (int round = 0; round < STALE_ROUNDS; round++) {
                uint64_t page = rnd(2) * STALE_PAGES;
                char *pages = w->base + page * PAGE;

                map_at(w, VA, w->pool, page, STALE_PAGES, RW);
                fences_anew(w, 2);
                for (int i = 0; i < 2; i++)
                        fence = submit_in(w, w->s, fill);
                pause_a_little();
                if (rnd(2))
                        w->b->unmap(w->s, VA, STALE_PAGES * PAGE);
                else
                        w->b->protect(w->s, VA, STALE_PAGES * PAGE, RO);
                memset(pages, 0x77, STALE_PAGES * PAGE);
                await(w, fence);
                for (unsigned i = 0; i < STALE_PAGES * PAGE; i++)
                        if (pages[i] != 0x77)
                                fail_msg("round %d: byte %u was written after unmap or protect had returned", round, i);
                w->b->unmap(w->s, VA, STALE_PAGES * PAGE);
        }
        world_free(w);
}

/* Reads: what the next owner writes there must not be seen, only what was there or what is mapped there now. */
static void test_no_read_through_a_stale_translation(void **state) {
        const struct device_op sum = { .type = DEVICE_SUM, .src = VA, .size = STALE_PAGES * PAGE };
        const uint64_t old = 1, other = 1ull << 20, poison = 1ull << 45;
        uint64_t *x, *y;
        struct world *w = world_new();

        x = (uint64_t *)(void *)w->base;
        y = x + STALE_PAGES * PAGE / 8;
        for (unsigned i = 0; i < STALE_PAGES * PAGE / 8; i++)
                y[i] = other;
        for (int round = 0; round < STALE_ROUNDS / 2; round++) {
                const struct device_result *r;
                uint64_t fence;

                for (unsigned i = 0; i < STALE_PAGES * PAGE / 8; i++)
                        x[i] = old;
                map_at(w, VA, w->pool, 0, STALE_PAGES, RO);
                fence = submit_in(w, w->s, sum);
                pause_a_little();
                w->b->unmap(w->s, VA, STALE_PAGES * PAGE);
                for (unsigned i = 0; i < STALE_PAGES * PAGE / 8; i++)
                        x[i] = poison;
                if (round % 2)
                        map_at(w, VA, w->pool, STALE_PAGES, STALE_PAGES, RO);
                r = await(w, fence);
                if (r->code == SVMD_STATUS_OK)
                        assert_int_equal(r->value >> 40, 0);
                else
                        expect_code(r, SVMD_STATUS_NOT_MAPPED);
                w->b->unmap(w->s, VA, STALE_PAGES * PAGE);
        }
        world_free(w);
}

/* A file that was unmapped and punched takes no page from the machine again. */
static void test_punched_file_stays_empty(void **state) {
        struct device_op fill = { .type = DEVICE_FILL, .dst = VA, .size = FILE_PAGES * PAGE, .value = 0x11 };
        struct world *w = world_new();
        struct stat st;

        for (int round = 0; round < 300; round++) {
                uint64_t fence;

                map_at(w, VA, w->file, 0, FILE_PAGES, RW);
                fence = submit_in(w, w->s, fill);
                pause_a_little();
                w->b->unmap(w->s, VA, FILE_PAGES * PAGE);
                memfile_punch(w->file, 0, FILE_PAGES * PAGE);
                await(w, fence);
                assert_int_equal(fstat(memfile_fd(w->file), &st), 0);
                assert_int_equal(st.st_blocks, 0);
        }
        world_free(w);
}

/* ---- memory runs out ----------------------------------------------------------------------------------- */

static void test_allocations_fail(void **state) {
        const uint64_t va = (1ull << 39) - PAGE;
        struct device_op sum = { .type = DEVICE_SUM, .src = va, .size = 8 };
        struct world *w = world_new();
        struct device_extent extent = { .slot = memfile_slot(w->pool), .size = 2 * PAGE };
        struct node_desc desc = { .kind = NODE_SOFT, .name = "x" };
        struct device_space *s = NULL;
        struct device *d = NULL;
        struct device_translation t;
        int r = -ENOMEM;

        alloc_fail_at(1);
        assert_int_equal(w->b->device_new(&d, &desc, on_done, w), -ENOMEM);
        assert_int_equal(w->b->space_new(w->d, &s), -ENOMEM);
        assert_int_equal(w->b->submit(w->s, &sum), -ENOMEM);
        alloc_fail_off();
        threads_fail = true;
        assert_int_equal(w->b->device_new(&d, &desc, on_done, w), -EAGAIN);
        threads_fail = false;
        assert_null(d);
        assert_null(s);
        for (unsigned long nth = 1; r < 0; nth++) {
                assert_true(nth < 100);
                alloc_fail_at(nth);
                r = w->b->map(w->s, va, &extent, 1, RW);
                alloc_fail_off();
                w->b->translate(w->s, va, &t);
                assert_int_equal(t.valid, r == 0);
                w->b->translate(w->s, va + PAGE, &t);
                assert_int_equal(t.valid, r == 0);
        }
        w->b->unmap(w->s, va, 2 * PAGE);
        expect_code(run(w, sum), SVMD_STATUS_NOT_MAPPED);
        alloc_fail_at(1);
        assert_int_equal(w->b->map(w->s, va, &extent, 1, RW), 0);
        alloc_fail_off();
        world_free(w);
}

/* With a full spare nothing is left that could fail. */
static void test_sparse_needs_no_allocation(void **state) {
        struct world *w = world_new();
        struct imap_spare spare[2];
        struct device_translation t;

        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(imap_spare_get(&spare[i]), 0);
        alloc_fail_at(1);
        w->b->sparse(w->s, VA, 16 * PAGE, SPARSE_WRITES_DROPPED, &spare[0]);
        w->b->sparse(w->s, VA + 4 * PAGE, PAGE, SPARSE_NONE, &spare[1]); /* the middle goes: the entry is split */
        alloc_fail_off();
        for (unsigned i = 0; i < 2; i++)
                imap_spare_put(&spare[i]);
        for (uint64_t i = 0; i < 16; i++) {
                w->b->translate(w->s, VA + i * PAGE, &t);
                assert_int_equal(t.sparse, i != 4);
        }
        world_free(w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_operations),
                cmocka_unit_test(test_operations_refused),
                cmocka_unit_test(test_texts_name_node_and_address),
                cmocka_unit_test(test_access_and_protect),
                cmocka_unit_test(test_sparse),
                cmocka_unit_test(test_atomic_add),
                cmocka_unit_test(test_chase),
                cmocka_unit_test(test_two_spaces),
                cmocka_unit_test(test_extents_of_one_mapping),
                cmocka_unit_test(test_attrs),
                cmocka_unit_test(test_queue_full_and_space_free),
                cmocka_unit_test(test_space_free_at_any_moment),
                cmocka_unit_test(test_operations_of_a_space_keep_their_order),
                cmocka_unit_test(test_many_idle_devices),
                cmocka_unit_test(test_no_write_through_a_stale_translation),
                cmocka_unit_test(test_no_read_through_a_stale_translation),
                cmocka_unit_test(test_punched_file_stays_empty),
                cmocka_unit_test(test_allocations_fail),
                cmocka_unit_test(test_sparse_needs_no_allocation),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        random_state = random_state * 2 + 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
