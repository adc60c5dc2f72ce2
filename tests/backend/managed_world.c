#include "managed_world.h"

#include <errno.h>
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
#include "proto/status.h"

enum { POISON = 0xee, CEILING_S = 30 };

uint64_t random_seed;

int __real_memfile_read(uint32_t slot, uint64_t offset, void *to, uint64_t size);
int __real_memfile_write(uint32_t slot, uint64_t offset, const void *from, uint64_t size);
int __real_memfile_atomic_add(uint32_t slot, uint64_t offset, uint64_t value, uint64_t *ret_before);
int __wrap_memfile_read(uint32_t slot, uint64_t offset, void *to, uint64_t size);
int __wrap_memfile_write(uint32_t slot, uint64_t offset, const void *from, uint64_t size);
int __wrap_memfile_atomic_add(uint32_t slot, uint64_t offset, uint64_t value, uint64_t *ret_before);

_Noreturn void check_failed(const char *what, const char *file, int line) {
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
        abort();
}

uint64_t rnd(uint64_t bound) {
        static atomic_ullong threads;
        static _Thread_local uint64_t state;

        if (state == 0)
                state = (random_seed + 0x9e3779b97f4a7c15u * (atomic_fetch_add(&threads, 1) + 1)) | 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % bound;
}

static void wait_for_change(struct world *w) {
        struct timespec deadline;

        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += CEILING_S;
        CHECK(pthread_cond_timedwait(&w->cond, &w->lock, &deadline) == 0);
}

/* ---- who holds what ------------------------------------------------------------------------------------- */

/* Of a device's thread: what it has begun, and which node it is. */
static _Thread_local struct {
        struct managed *range;
        uint32_t granule, node;
} mine;

/* The world that the functions about files watch. */
static struct world *watched;

static char *slot_base(const struct managed *r, uint32_t slot) {
        return (char *)memfile_base(memfile_slot(r->pool)) + (uint64_t)(slot - 1) * r->bytes;
}

static void set_access(const struct managed *r, uint32_t granule, int access) {
        uint32_t slot = r->granule[granule].slot;

        if (slot)
                CHECK(mprotect(slot_base(r, slot), r->bytes, access) == 0);
}

static bool is_shown(const struct granule *g, uint32_t node, bool write) {
        return (write ? g->writable : g->shown) >> node & 1;
}

static void hold(struct managed *r, uint32_t granule, uint32_t node, bool write) {
        struct granule *g = &r->granule[granule];

        CHECK(!r->hidden[node]);
        if (g->ops++ == 0)
                set_access(r, granule, PROT_READ);
        if (write)
                set_access(r, granule, PROT_READ | PROT_WRITE);
        r->held[node]++;
}

static void given_to(struct world *w, struct fault *f) {
        hold(f->range, f->granule, f->node, f->write);
        list_push_back(&w->given, &f->link);
        w->answered++;
}

static bool given_back(struct world *w, const struct managed *r, uint32_t granule, uint32_t node) {
        list_for_each_safe (l, &w->given) {
                struct fault *f = container_of(l, struct fault, link);

                if (f->range != r || f->granule != granule || f->node != node)
                        continue;
                list_remove(&f->link);
                free(f);
                return true;
        }
        return false;
}

static bool node_was_given(const struct world *w, uint32_t node) {
        list_for_each (l, &w->given)
                if (container_of(l, struct fault, link)->node == node)
                        return true;
        return false;
}

static bool on_begin(void *range, uint32_t granule, uint32_t node, bool write) {
        struct managed *r = range;
        struct world *w = r->w;
        bool ok;

        if (w->hook)
                w->hook(r, granule, AT_BEGIN);
        pthread_mutex_lock(&w->lock);
        CHECK(granule < r->count);
        CHECK(!mine.range);
        CHECK(!(w->single[node] && node_was_given(w, node)));
        CHECK(!r->hidden[node]);
        mine.node = node;
        ok = r->lies || (!r->granule[granule].changing && is_shown(&r->granule[granule], node, write));
        if (ok) {
                hold(r, granule, node, write);
                mine.range = r;
                mine.granule = granule;
        }
        w->begun += ok;
        w->refused += !ok;
        pthread_mutex_unlock(&w->lock);
        return ok;
}

static void on_end(void *range, uint32_t granule) {
        struct managed *r = range;
        struct world *w = r->w;
        struct granule *g = &r->granule[granule];

        if (w->hook)
                w->hook(r, granule, AT_END);
        pthread_mutex_lock(&w->lock);
        if (mine.range == r && mine.granule == granule)
                mine.range = NULL;
        else
                CHECK(given_back(w, r, granule, mine.node));
        CHECK(g->ops > 0 && r->held[mine.node] > 0);
        r->held[mine.node]--;
        if (--g->ops == 0)
                set_access(r, granule, PROT_NONE);
        pthread_cond_broadcast(&w->cond);
        pthread_mutex_unlock(&w->lock);
}

static struct managed *range_of_file(struct world *w, uint32_t slot) {
        for (unsigned i = 0; w && i < RANGES; i++)
                if (w->range[i].file && memfile_slot(w->range[i].file) == slot)
                        return &w->range[i];
        return NULL;
}

/* Device threads may use the range's file where somebody holds the granule, and the granule lies in it. */
static int watch_file(uint32_t slot, uint64_t offset, uint64_t size) {
        struct managed *r = range_of_file(watched, slot);
        uint32_t granule;

        if (!r)
                return 0;
        granule = (uint32_t)(offset / r->bytes);
        if (r->w->hook)
                r->w->hook(r, granule, AT_FILE);
        pthread_mutex_lock(&r->w->lock);
        CHECK(offset % r->bytes + size <= r->bytes);
        CHECK(r->granule[granule].ops > 0 && r->granule[granule].slot == 0);
        pthread_mutex_unlock(&r->w->lock);
        return r->w->file_error;
}

int __wrap_memfile_read(uint32_t slot, uint64_t offset, void *to, uint64_t size) {
        int r = watch_file(slot, offset, size);

        return r < 0 ? r : __real_memfile_read(slot, offset, to, size);
}

int __wrap_memfile_write(uint32_t slot, uint64_t offset, const void *from, uint64_t size) {
        int r = watch_file(slot, offset, size);

        return r < 0 ? r : __real_memfile_write(slot, offset, from, size);
}

int __wrap_memfile_atomic_add(uint32_t slot, uint64_t offset, uint64_t value, uint64_t *ret_before) {
        int r = watch_file(slot, offset, 8);

        return r < 0 ? r : __real_memfile_atomic_add(slot, offset, value, ret_before);
}

/* ---- moving --------------------------------------------------------------------------------------------- */

static void change_begin(struct managed *r, uint32_t granule) {
        struct granule *g = &r->granule[granule];

        pthread_mutex_lock(&r->w->lock);
        while (g->changing)
                wait_for_change(r->w);
        g->changing = true;
        while (g->ops > 0)
                wait_for_change(r->w);
        pthread_mutex_unlock(&r->w->lock);
}

static void change_end(struct managed *r, uint32_t granule) {
        pthread_mutex_lock(&r->w->lock);
        r->granule[granule].changing = false;
        pthread_cond_broadcast(&r->w->cond);
        pthread_mutex_unlock(&r->w->lock);
}

static void take_away(struct managed *r, uint32_t granule) {
        struct granule *g = &r->granule[granule];

        for (uint32_t node = 0; node < NODES; node++)
                if (g->shown >> node & 1)
                        r->w->b->range_invalidate(r->seen[node], granule);
        g->shown = g->writable = 0;
}

static void expect_poison(const char *bytes, uint64_t size) {
        CHECK((unsigned char)bytes[0] == POISON && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* 0: no slot is free. */
static uint32_t slot_take(struct managed *r) {
        uint32_t slot = 0;

        pthread_mutex_lock(&r->w->lock);
        for (uint32_t i = 0; i < r->slots && !slot; i++)
                if (!r->slot_used[i])
                        slot = i + 1;
        if (slot)
                r->slot_used[slot - 1] = true;
        pthread_mutex_unlock(&r->w->lock);
        return slot;
}

static void slot_give(struct managed *r, uint32_t slot) {
        pthread_mutex_lock(&r->w->lock);
        r->slot_used[slot - 1] = false;
        pthread_mutex_unlock(&r->w->lock);
}

static void move_out(struct managed *r, uint32_t granule, uint32_t slot) {
        uint64_t offset = (uint64_t)granule * r->bytes;
        char *p = slot_base(r, slot), *poison = malloc(r->bytes);

        CHECK(mprotect(p, r->bytes, PROT_READ | PROT_WRITE) == 0);
        expect_poison(p, r->bytes);
        CHECK(__real_memfile_read(memfile_slot(r->file), offset, p, r->bytes) == 0);
        memset(poison, POISON, r->bytes);
        CHECK(__real_memfile_write(memfile_slot(r->file), offset, poison, r->bytes) == 0);
        CHECK(mprotect(p, r->bytes, PROT_NONE) == 0);
        free(poison);
        r->granule[granule].slot = slot;
}

static void move_in(struct managed *r, uint32_t granule) {
        uint32_t slot = r->granule[granule].slot;
        uint64_t offset = (uint64_t)granule * r->bytes;
        char *p = slot_base(r, slot), *was = malloc(r->bytes);

        CHECK(mprotect(p, r->bytes, PROT_READ | PROT_WRITE) == 0);
        CHECK(__real_memfile_read(memfile_slot(r->file), offset, was, r->bytes) == 0);
        expect_poison(was, r->bytes);
        CHECK(__real_memfile_write(memfile_slot(r->file), offset, p, r->bytes) == 0);
        memset(p, POISON, r->bytes);
        CHECK(mprotect(p, r->bytes, PROT_NONE) == 0);
        free(was);
        r->granule[granule].slot = 0;
        slot_give(r, slot);
}

/* While it changes. */
static void move(struct managed *r, uint32_t granule, bool pool) {
        struct granule *g = &r->granule[granule];
        uint32_t slot;

        if (pool == (g->slot != 0))
                return;
        take_away(r, granule);
        slot = pool ? slot_take(r) : 0;
        if (pool && slot)
                move_out(r, granule, slot);
        else if (!pool)
                move_in(r, granule);
}

static void show(struct managed *r, uint32_t granule, uint32_t node, bool write) {
        struct granule *g = &r->granule[granule];
        struct device_extent extent = { .size = r->bytes };
        uint8_t bit = (uint8_t)(1u << node);

        extent.slot = memfile_slot(g->slot ? r->pool : r->file);
        extent.offset = (uint64_t)(g->slot ? g->slot - 1 : granule) * r->bytes;
        CHECK(r->w->b->range_map(r->seen[node], granule, extent, write) == 0);
        g->shown |= bit;
        g->writable = (uint8_t)(write ? g->writable | bit : g->writable & ~bit);
}

void managed_show(struct managed *r, uint32_t granule, uint32_t node, bool pool, bool write) {
        change_begin(r, granule);
        move(r, granule, pool);
        show(r, granule, node, write);
        change_end(r, granule);
}

void managed_take(struct managed *r, uint32_t granule) {
        change_begin(r, granule);
        take_away(r, granule);
        change_end(r, granule);
}

/* ---- answers -------------------------------------------------------------------------------------------- */

static void give(struct fault *f) {
        struct managed *r = f->range;
        struct device *d = r->w->d[f->node];
        void *token = f->token;

        pthread_mutex_lock(&r->w->lock);
        r->granule[f->granule].changing = false;
        given_to(r->w, f);
        pthread_cond_broadcast(&r->w->cond);
        pthread_mutex_unlock(&r->w->lock);
        r->w->b->range_answer(d, token, SVMD_STATUS_OK, NULL);
}

void fault_serve(struct fault *f, bool pool) {
        struct managed *r = f->range;

        change_begin(r, f->granule);
        move(r, f->granule, pool);
        show(r, f->granule, f->node, f->write);
        give(f);
}

void fault_refuse(struct fault *f, unsigned code, const char *text) {
        struct managed *r = f->range;

        r->w->b->range_answer(r->w->d[f->node], f->token, code, text);
        free(f);
}

static void answer(struct fault *f) {
        struct managed *r = f->range;

        if (rnd(100) < r->w->errors) {
                fault_refuse(f, SVMD_STATUS_NO_ROOM, "every node is full; free something");
                return;
        }
        change_begin(r, f->granule);
        if (rnd(2))
                move(r, f->granule, rnd(2));
        show(r, f->granule, f->node, f->write || rnd(2));
        give(f);
}

/* A change that would have to wait for a device is not made in a device's thread. */
static bool at_once(const struct world *w, const struct fault *f) {
        const struct granule *g = &f->range->granule[f->granule];

        return rnd(100) < w->inside && g->ops == 0 && !g->changing;
}

static void on_fault(void *range, uint32_t granule, uint32_t node, bool write, void *token) {
        struct managed *r = range;
        struct world *w = r->w;
        struct fault *f = malloc(sizeof(*f));
        bool inside;

        *f = (struct fault){ .range = r, .granule = granule, .node = node, .write = write, .token = token };
        if (w->hook)
                w->hook(r, granule, AT_FAULT);
        pthread_mutex_lock(&w->lock);
        CHECK(!mine.range && !r->hidden[node]);
        CHECK(!(w->single[node] && node_was_given(w, node)));
        inside = at_once(w, f);
        if (inside) {
                r->granule[granule].changing = true;
        } else {
                list_push_back(&w->faults, &f->link);
                pthread_cond_broadcast(&w->cond);
        }
        pthread_mutex_unlock(&w->lock);
        if (inside) {
                show(r, granule, node, write);
                give(f);
        }
}

static const struct device_faults faults = { on_begin, on_end, on_fault };

static struct fault *pop_fault(struct world *w) {
        struct fault *f = container_of(w->faults.next, struct fault, link);

        list_remove(&f->link);
        return f;
}

struct fault *fault_take(struct world *w) {
        struct fault *f;

        pthread_mutex_lock(&w->lock);
        while (list_empty(&w->faults))
                wait_for_change(w);
        f = pop_fault(w);
        pthread_mutex_unlock(&w->lock);
        return f;
}

unsigned faults_waiting(struct world *w) {
        unsigned n = 0;

        pthread_mutex_lock(&w->lock);
        list_for_each (l, &w->faults)
                n++;
        pthread_mutex_unlock(&w->lock);
        return n;
}

void expect_hidden(struct managed *r, uint32_t node) {
        pthread_mutex_lock(&r->w->lock);
        CHECK(r->held[node] == 0);
        list_for_each (l, &r->w->faults) {
                const struct fault *f = container_of(l, struct fault, link);

                CHECK(f->range != r || f->node != node);
        }
        r->hidden[node] = true;
        pthread_mutex_unlock(&r->w->lock);
}

void expect_seen(struct managed *r, uint32_t node) {
        pthread_mutex_lock(&r->w->lock);
        r->hidden[node] = false;
        pthread_mutex_unlock(&r->w->lock);
}

static struct managed *any_range(struct world *w) {
        struct managed *r;

        do
                r = &w->range[rnd(RANGES)];
        while (!r->granule);
        return r;
}

static void disturb(struct world *w) {
        struct managed *r = any_range(w);
        uint32_t granule = (uint32_t)rnd(r->count);

        change_begin(r, granule);
        take_away(r, granule);
        if (rnd(3) == 0)
                move(r, granule, rnd(2));
        pthread_mutex_lock(&w->lock);
        w->moved++;
        pthread_mutex_unlock(&w->lock);
        change_end(r, granule);
}

static void *mover_main(void *userdata) {
        struct world *w = userdata;
        bool stop = false;

        while (!stop) {
                struct fault *f = NULL;

                pthread_mutex_lock(&w->lock);
                if (!list_empty(&w->faults) && rnd(8))
                        f = pop_fault(w);
                stop = w->stop && list_empty(&w->faults);
                pthread_mutex_unlock(&w->lock);
                if (f)
                        answer(f);
                else if (!stop)
                        disturb(w);
                usleep((useconds_t)rnd(f ? 20 : 200));
        }
        return NULL;
}

void movers_start(struct world *w) {
        w->moving = true;
        w->stop = false;
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&w->movers[i], NULL, mover_main, w), 0);
}

void movers_stop(struct world *w) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_mutex_unlock(&w->lock);
        for (int i = 0; i < 2; i++)
                pthread_join(w->movers[i], NULL);
        w->moving = false;
}

/* ---- the world ------------------------------------------------------------------------------------------ */

static void on_done(void *userdata, const struct device_result *result) {
        struct world *w = userdata;

        pthread_mutex_lock(&w->lock);
        w->results[result->fence] = *result;
        w->times[result->fence]++;
        w->order[w->ended++] = result->fence;
        pthread_cond_broadcast(&w->cond);
        pthread_mutex_unlock(&w->lock);
}

struct world *world_new(bool with_faults) {
        struct node_desc desc = { .kind = NODE_SOFT, .faults = with_faults, .capacity = PAGE };
        struct world *w = calloc(1, sizeof(*w));

        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->cond, NULL);
        list_init(&w->faults);
        list_init(&w->given);
        w->next_fence = 1;
        w->b = backend_for(NODE_SOFT);
        for (int i = 0; i < NODES; i++) {
                snprintf(desc.name, sizeof(desc.name), "gpu%d", i);
                w->single[i] = true;
                assert_int_equal(w->b->device_new(&w->d[i], &desc, on_done, w), 0);
        }
        watched = w;
        return w;
}

static void managed_free(struct managed *r) {
        for (uint32_t node = 0; node < NODES; node++) {
                assert_int_equal(r->held[node], 0);
                r->w->b->range_free(r->seen[node]);
        }
        memfile_free(r->file);
        memfile_free(r->pool);
        free(r->slot_used);
        free(r->granule);
}

void world_free(struct world *w) {
        if (w->moving)
                movers_stop(w);
        assert_true(list_empty(&w->faults));
        assert_true(list_empty(&w->given));
        for (int i = 0; i < NODES; i++)
                w->b->device_free(w->d[i]);
        watched = NULL;
        for (int i = 0; i < RANGES; i++)
                if (w->range[i].granule)
                        managed_free(&w->range[i]);
        pthread_cond_destroy(&w->cond);
        pthread_mutex_destroy(&w->lock);
        free(w);
}

struct managed *managed_new(struct world *w, unsigned i, uint64_t address, uint32_t bytes, uint32_t count,
                            uint32_t slots) {
        struct managed *r = &w->range[i];
        struct device_range_args args = {
                .range = r, .faults = &faults, .address = address, .granule = bytes, .count = count
        };
        uint64_t pool = (uint64_t)slots * bytes;
        char *base;

        *r = (struct managed){ .w = w, .address = address, .bytes = bytes, .count = count, .slots = slots };
        assert_int_equal(memfile_new(&r->file, "range", (uint64_t)count * bytes, -1, false), 0);
        assert_int_equal(memfile_new(&r->pool, "pool", pool, -1, true), 0);
        base = memfile_base(memfile_slot(r->pool));
        memset(base, POISON, pool);
        assert_int_equal(mprotect(base, pool, PROT_NONE), 0);
        r->slot_used = calloc(slots, sizeof(*r->slot_used));
        r->granule = calloc(count, sizeof(*r->granule));
        for (uint32_t node = 0; node < NODES; node++) {
                args.node = node;
                assert_int_equal(w->b->range_new(w->d[node], &r->seen[node], &args), 0);
        }
        return r;
}

/* One granule of it, while that changes. */
static void piece(struct managed *r, uint32_t granule, uint64_t in_it, void *to, const void *from, uint64_t size) {
        uint32_t slot = r->granule[granule].slot;
        uint64_t offset = (uint64_t)granule * r->bytes + in_it;
        char *p = slot ? slot_base(r, slot) : NULL;

        set_access(r, granule, PROT_READ | PROT_WRITE);
        if (p && to)
                memcpy(to, p + in_it, size);
        else if (p)
                memcpy(p + in_it, from, size);
        else if (to)
                CHECK(__real_memfile_read(memfile_slot(r->file), offset, to, size) == 0);
        else
                CHECK(__real_memfile_write(memfile_slot(r->file), offset, from, size) == 0);
        set_access(r, granule, PROT_NONE);
}

static void pieces(struct managed *r, uint64_t offset, char *to, const char *from, uint64_t size) {
        while (size > 0) {
                uint32_t granule = (uint32_t)(offset / r->bytes);
                uint64_t in_it = offset % r->bytes, n = r->bytes - in_it < size ? r->bytes - in_it : size;

                change_begin(r, granule);
                piece(r, granule, in_it, to, from, n);
                change_end(r, granule);
                to = to ? to + n : NULL;
                from = from ? from + n : NULL;
                offset += n;
                size -= n;
        }
}

void managed_read(struct managed *r, uint64_t offset, void *to, uint64_t size) {
        pieces(r, offset, to, NULL, size);
}

void managed_write(struct managed *r, uint64_t offset, const void *from, uint64_t size) {
        pieces(r, offset, NULL, from, size);
}

/* ---- operations ----------------------------------------------------------------------------------------- */

void fences_anew(struct world *w, uint64_t count) {
        if (w->next_fence + count <= FENCES)
                return;
        pthread_mutex_lock(&w->lock);
        memset(w->times, 0, sizeof(w->times));
        w->ended = 0;
        w->next_fence = 1;
        pthread_mutex_unlock(&w->lock);
}

uint64_t submit(struct world *w, struct device_space *s, struct device_op op) {
        assert_true(w->next_fence < FENCES);
        op.fence = w->next_fence++;
        assert_int_equal(w->b->submit(s, &op), 0);
        return op.fence;
}

const struct device_result *await(struct world *w, uint64_t fence) {
        pthread_mutex_lock(&w->lock);
        while (w->times[fence] == 0)
                wait_for_change(w);
        CHECK(w->times[fence] == 1);
        pthread_mutex_unlock(&w->lock);
        return &w->results[fence];
}

const struct device_result *run(struct world *w, struct device_space *s, struct device_op op) {
        fences_anew(w, 1);
        return await(w, submit(w, s, op));
}

void expect_code(const struct device_result *result, unsigned code) {
        if (result->code != code)
                print_error("%s: %s\n", status_name(result->code), result->text);
        assert_int_equal(result->code, code);
        assert_int_equal(result->text[0] == '\0', code == SVMD_STATUS_OK);
}

void await_flag(struct world *w, const atomic_bool *flag) {
        for (int i = 0; !atomic_load(flag); i++) {
                CHECK(i < CEILING_S * 10000);
                usleep(100);
        }
}
