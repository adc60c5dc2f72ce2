/*
 * Random requests about page tables of three GPUs (drm_space, drm_bind, drm_check, drm_bound) against a model that is
 * an array of pages, while the processes change the same page tables themselves, with leave and without, drivers
 * refuse, allocations fail, leave runs out, sessions end and svmd "is killed". After each request the drivers' models
 * must show what the model here has, page by page, and a check must find exactly what a process did behind svmd's back.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "core/grant.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "gpus.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"

#define PAGE SVMD_PAGE
enum { SESSIONS = 3, KINDS = 3, FILES = SESSIONS * KINDS, TABLES = 4, PAGES = 48, VECTOR = 24, MEMORIES = 2 };
enum { NOTHING = 0, EMPTY = -1, NO_HANDLE = 4000 };

/* ThreadSanitizer is slow. */
#ifdef __SANITIZE_THREAD__
enum { USUAL = 1500 };
#else
enum { USUAL = 10000 };
#endif

/* What a page shows: memory by its handle and the place in it. */
struct cell {
        int handle;
        uint64_t offset;
};

struct page_table {
        bool used, made; /* made by svmd; else by the process */
        uint32_t number;
        struct cell there[PAGES]; /* in the driver */
        struct cell known[PAGES]; /* in svmd's books */
};

struct gpu_file {
        int fd; /* the process's */
        uint64_t id;
        unsigned gpu; /* 0 to 2: xe, amdgpu, nouveau */
        uint32_t memory[MEMORIES];
        struct page_table table[TABLES];
};

/* A process's leave to bind itself, of one page table. */
struct leave {
        bool open, expired;
        unsigned f;
        uint32_t space;
        unsigned first, count;
        uint64_t id, generation;
};

static uint64_t rng, now_ns = 1000000000ull;
static struct world world;
static struct client client[SESSIONS];
static struct gpu_file files[FILES]; /* a session's stand together */
static struct leave leaves[SESSIONS];
static uint64_t reservation[SESSIONS], first_at;
static unsigned long asked, refused, injected, starved, differed, restarts, ends, told, held_off, expired;

static uint64_t now(void) {
        return now_ns;
}

/* Of the file's page tables the first page; each session has its own. */
static uint64_t start_of(unsigned f) {
        return first_at + f / KINDS * PAGES * PAGE;
}

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

/* ---- the drivers show what the model has ---- */

static const struct drm_rows *rows_of(unsigned f, uint32_t number) {
        return files[f].gpu == 0   ? xe_vm_rows(gpu_files[f], number)
               : files[f].gpu == 1 ? amdgpu_rows(gpu_files[f])
                                   : nouveau_rows(gpu_files[f]);
}

static struct cell cell_of(unsigned f, const struct drm_row *row, uint64_t address) {
        if (row->kind != ROW_OBJECT)
                return (struct cell){ EMPTY, 0 };
        for (unsigned i = 0; i < MEMORIES; i++)
                if (drm_handle(gpu_files[f], files[f].memory[i]) == row->object)
                        return (struct cell){ (int)files[f].memory[i], row->offset + (address - row->start) };
        return (struct cell){ NO_HANDLE, 0 };
}

static void check_table(unsigned f, const struct page_table *t) {
        const struct drm_rows *rows = rows_of(f, t->number);

        assert_non_null(rows);
        for (unsigned p = 0; p < PAGES; p++) {
                uint64_t address = start_of(f) + p * PAGE;
                struct cell c = { NOTHING, 0 };

                for (size_t i = 0; i < rows->count; i++)
                        if (rows->row[i].start <= address && address < rows->row[i].end)
                                c = cell_of(f, &rows->row[i], address);
                if (c.handle != t->there[p].handle || (c.handle > 0 && c.offset != t->there[p].offset))
                        fail_msg("file %u (%s), page table %u, page %u: %d+%" PRIu64 ", and the model has %d+%" PRIu64,
                                 f, gpu_files[f]->card->driver->name, t->number, p, c.handle, c.offset,
                                 t->there[p].handle, t->there[p].offset);
        }
}

static void check_files(void) {
        for (unsigned f = 0; f < FILES; f++)
                for (unsigned i = 0; i < TABLES; i++)
                        if (files[f].table[i].used)
                                check_table(f, &files[f].table[i]);
}

/* ---- requests ---- */

static struct client *client_of(unsigned f) {
        return &client[f / KINDS];
}

/* Now and then one allocation of what would be served is refused: then nothing has been asked. (A session that has just
 * been taken over ends in that case.) */
static bool ask(unsigned f, Svmd__V1__Op *op, bool good, struct gpu_end *ret) {
        Svmd__V1__Result *r;
        bool hit;

        if (good && !client_of(f)->session->resumed && any(6) == 0)
                alloc_fail_at(1 + any(12));
        r = client_call(client_of(f), op);
        hit = alloc_fail_hit();
        alloc_fail_off();
        asked++;
        if (r->code != 0 && hit && r->code == SVMD_STATUS_NO_MEMORY) {
                starved++;
                return false;
        }
        *ret = r->code ? (struct gpu_end){ .code = r->code } : gpu_await(client_of(f), r->id);
        refused += ret->code != 0;
        return true;
}

static void want(unsigned code, unsigned f, const struct gpu_end *e) {
        if (e->code != code)
                fail_msg("file %u (%s): %u %s, and the model says %u", f, gpu_files[f]->card->driver->name, e->code,
                         e->text, code);
}

static struct page_table *any_table(struct gpu_file *x) {
        unsigned i = (unsigned)any(TABLES);

        for (unsigned n = 0; n < TABLES && !x->table[i].used; n++)
                i = (i + 1) % TABLES;
        return &x->table[i];
}

static void do_make(unsigned f) {
        struct gpu_file *x = &files[f];
        unsigned free = x->gpu == 0 ? 0 : (x->table[0].used ? TABLES : 0);
        struct gpu_end e;

        while (x->gpu == 0 && free < TABLES && x->table[free].used)
                free++;
        if (free == TABLES) {
                if (x->gpu == 0 || !ask(f, mk_drm_space(x->id, 0, any(2), false), true, &e))
                        return;
                want(SVMD_STATUS_TAKEN, f, &e); /* a file has one */
                return;
        }
        if (!ask(f, mk_drm_space(x->id, 0, false, false), true, &e))
                return;
        want(0, f, &e);
        x->table[free].used = x->table[free].made = true;
        x->table[free].number = (uint32_t)e.value;
        if (x->gpu == 0)
                memset(x->table[free].there, 0, sizeof(x->table[free].there));
        memset(x->table[free].known, 0, sizeof(x->table[free].known));
}

static void do_let_go(unsigned f) {
        struct gpu_file *x = &files[f];
        struct page_table *t = any_table(x);
        bool busy = t->used && x->gpu == 0 && any(3) == 0;
        struct gpu_end e;

        if (busy)
                gpu_refuse(GPU_XE, XE_VM_DESTROY, 0, 1, EBUSY);
        if (ask(f, mk_drm_space(x->id, t->used ? t->number : 77, false, true), t->used, &e)) {
                want(busy ? SVMD_STATUS_BUSY : t->used ? 0 : SVMD_STATUS_NO_SUCH, f, &e);
                injected += busy;
                memset(t->there, 0, sizeof(t->there)); /* unmapped before it is destroyed */
                memset(t->known, 0, sizeof(t->known));
                t->used = t->used && busy;
        }
        gpu_refuse(GPU_XE, XE_VM_DESTROY, 0, 0, 0);
}

/* What a process does by itself; no handle: it unmaps. */
static void bind_self(unsigned f, struct page_table *t, unsigned first, unsigned count, uint32_t handle) {
        struct gpu_file *x = &files[f];
        uint64_t start = start_of(f) + first * PAGE, size = count * PAGE;
        struct xe_vm_bind v = { .vm_id = t->number, .count = 1 };
        struct amdgpu_gem_va va = { .handle = handle, .address = start, .size = size };
        struct nouveau_bind_op op = { .op = handle ? NOUVEAU_BIND_MAP : NOUVEAU_BIND_UNMAP, .handle = handle };
        struct nouveau_vm_bind n = { .count = 1, .ops = (uintptr_t)&op };

        v.bind = (struct xe_bind_op){
                .op = handle ? XE_BIND_MAP : XE_BIND_UNMAP, .object = handle, .address = start, .range = size
        };
        va.op = handle ? AMDGPU_VA_REPLACE : AMDGPU_VA_CLEAR;
        va.flags = handle ? AMDGPU_PAGE_READ : 0;
        op.address = start;
        op.range = size;
        assert_int_equal(x->gpu == 0   ? gpu_call(f, XE_VM_BIND, &v)
                         : x->gpu == 1 ? gpu_call(f, AMDGPU_GEM_VA, &va)
                                       : gpu_call(f, NOUVEAU_VM_BIND, &n),
                         0);
        for (unsigned i = 0; i < count; i++)
                t->there[first + i] = (struct cell){ (int)handle, i * PAGE };
}

static void do_behind(unsigned f) {
        struct page_table *t = any_table(&files[f]);
        unsigned first = (unsigned)any(PAGES - 4), count = 1 + (unsigned)any(4);

        if (t->used)
                bind_self(f, t, first, count, any(2) ? files[f].memory[any(MEMORIES)] : 0);
}

/* ---- with leave ---- */

static void do_leave(unsigned f) {
        struct leave *l = &leaves[f / KINDS];
        const struct page_table *t = any_table(&files[f]);
        Svmd__V1__Op *op = mk_grant(GPU_NODES + files[f].gpu, GRANT_MAP | GRANT_UNMAP, 0);
        const Svmd__V1__Result *r;

        if (l->open || !t->used)
                return;
        *l = (struct leave){ .open = true, .f = f, .space = t->number };
        l->first = (unsigned)any(PAGES - 8);
        l->count = 8 + (unsigned)any(PAGES - 8 - l->first + 1);
        op->grant_ask->reservation = reservation[f / KINDS];
        op->grant_ask->address = start_of(f) + l->first * PAGE;
        op->grant_ask->size = l->count * PAGE;
        r = client_call(client_of(f), op);
        assert_int_equal(r->code, 0);
        l->id = r->id;
        l->generation = r->generation;
        asked++;
}

/* NULL: it has been let go since. */
static struct page_table *table_of(const struct leave *l) {
        for (unsigned i = 0; i < TABLES; i++)
                if (files[l->f].table[i].used && files[l->f].table[i].number == l->space)
                        return &files[l->f].table[i];
        return NULL;
}

static void tell_code(unsigned code, const struct leave *l, unsigned want) {
        if (code != want)
                fail_msg("file %u (%s) tells of page table %u: %u, and the model says %u", l->f,
                         gpu_files[l->f]->card->driver->name, l->space, code, want);
        refused += code != 0;
        asked++;
}

/* It binds, and says so: all of it, with another leave's number, or with one that is not of its leave. */
static void do_tell(unsigned f) {
        struct leave *l = &leaves[f / KINDS];
        struct page_table *t = l->open ? table_of(l) : NULL, after;
        unsigned n = (unsigned)any(4), wrong = l->expired ? 2 : (unsigned)any(8);
        bool more = any(3) != 0;
        unsigned want = !t           ? SVMD_STATUS_NO_SUCH
                        : l->expired ? SVMD_STATUS_TIMEOUT
                        : wrong == 0 ? SVMD_STATUS_NO_SUCH
                        : wrong == 1 ? SVMD_STATUS_RANGE
                                     : 0;
        Svmd__V1__Op *op;

        if (!l->open)
                return;
        if (t)
                after = *t;
        for (unsigned i = 0; i < n; i++) {
                unsigned first = l->first + (unsigned)any(l->count - 4), count = 1 + (unsigned)any(4);
                uint32_t handle = any(3) ? files[l->f].memory[any(MEMORIES)] : 0;

                if (t)
                        bind_self(l->f, t, first, count, handle);
                gpu_binding(handle ? DRM_BIND_MAP : DRM_BIND_UNMAP, start_of(l->f) + first * PAGE, count, handle);
                for (unsigned k = 0; t && k < count; k++)
                        after.known[first + k] = (struct cell){ (int)handle, k * PAGE };
        }
        if (wrong == 1)
                gpu_binding(DRM_BIND_UNMAP, start_of(l->f) + (l->first + l->count - 1) * PAGE, 2, 0);
        op = mk_drm_bound(l->id, l->generation - (wrong == 0), files[l->f].id, l->space, more);
        tell_code(client_call(client_of(l->f), op)->code, l, want);
        if (want == 0) {
                memcpy(t->known, after.known, sizeof(t->known));
                told += n;
                l->open = more;
        }
}

/* Nothing that it says then counts, and svmd binds there again. */
static void do_expire(unsigned f) {
        now_ns += 11 * 1000000000ull;
        for (unsigned s = 0; s < SESSIONS; s++)
                leaves[s].expired = leaves[s].open;
        do_tell(f);
}

static void do_settle(unsigned f) {
        struct leave *l = &leaves[f / KINDS];

        if (!l->open || (!l->expired && any(4)))
                return;
        tell_code(client_call(client_of(f), mk_grant_done(l->id, l->generation, ECANCELED, 0))->code, l, 0);
        expired += l->expired;
        l->open = false;
}

/* Whether the process binds there itself: in which of its page tables is not asked. */
static bool is_left(unsigned f, unsigned first, unsigned count) {
        const struct leave *l = &leaves[f / KINDS];

        return l->open && !l->expired && l->f == f && first < l->first + l->count && l->first < first + count;
}

/* ---- bindings ---- */

struct wish {
        unsigned what, first, count;
        struct cell cell; /* of its first page */
        bool replace;
};

static struct wish any_binding(const struct gpu_file *x) {
        struct wish b = { .first = (unsigned)any(PAGES - 6), .count = 1 + (unsigned)any(6), .replace = any(4) != 0 };
        unsigned kind = (unsigned)any(8);

        b.what = kind < 4 ? DRM_BIND_MAP : kind < 5 ? DRM_BIND_EMPTY : DRM_BIND_UNMAP;
        if (b.what == DRM_BIND_MAP)
                b.cell = (struct cell){ any(60) ? (int)x->memory[any(MEMORIES)] : NO_HANDLE, any(8) * PAGE };
        else if (b.what == DRM_BIND_EMPTY)
                b.cell.handle = EMPTY;
        return b;
}

/* By svmd's books first, then by the driver's rules. */
static unsigned code_of(const struct gpu_file *x, const struct page_table *t, const struct wish *b) {
        bool known = false, there = false;

        if (b->what == DRM_BIND_UNMAP)
                return 0;
        for (unsigned i = b->first; i < b->first + b->count; i++) {
                known |= t->known[i].handle != NOTHING;
                there |= t->there[i].handle != NOTHING;
        }
        if (known && !b->replace)
                return SVMD_STATUS_TAKEN;
        if (b->cell.handle == NO_HANDLE)
                return SVMD_STATUS_NO_SUCH;
        return x->gpu == 1 && there && !b->replace ? SVMD_STATUS_INVALID : 0;
}

static void apply(struct page_table *t, const struct wish *b) {
        for (unsigned i = 0; i < b->count; i++) {
                struct cell c = b->cell;

                c.offset += c.handle > 0 ? i * PAGE : 0;
                t->there[b->first + i] = t->known[b->first + i] = c;
        }
}

static void do_bind(unsigned f) {
        static const int errors[] = { ENOBUFS, EBUSY, ENOLINK, ENOMEM };
        static const unsigned codes[] = { SVMD_STATUS_NO_MEMORY, SVMD_STATUS_BUSY, SVMD_STATUS_NO_LINK,
                                          SVMD_STATUS_NO_MEMORY };
        static const unsigned long calls[] = { XE_VM_BIND, AMDGPU_GEM_VA, NOUVEAU_VM_BIND };
        struct gpu_file *x = &files[f];
        struct page_table *t = any_table(x), after = *t;
        unsigned n = 1 + (unsigned)any(any(3) ? 4 : VECTOR), good = 0, code = 0, which = (unsigned)any(4);
        bool inject = any(4) == 0, left = false, served, driver;
        struct wish b[VECTOR];
        struct gpu_end e;

        for (unsigned i = 0; i < n; i++) {
                Svmd__V1__DrmBinding *m;

                b[i] = any_binding(x);
                m = gpu_binding(b[i].what, start_of(f) + b[i].first * PAGE, b[i].count,
                                b[i].cell.handle > 0 ? (uint32_t)b[i].cell.handle : 0);
                m->offset = b[i].cell.offset;
                m->replace = b[i].replace;
                left |= is_left(f, b[i].first, b[i].count);
                if (code == 0)
                        code = code_of(x, &after, &b[i]);
                if (code == 0) {
                        apply(&after, &b[i]);
                        good++;
                }
        }
        if (inject) /* more often than a vector can be halved, or not */
                gpu_refuse(GPU_XE + x->gpu, calls[x->gpu], (uint32_t)any(4), 1 + (uint32_t)any(8), errors[which]);
        served = ask(f, mk_drm_bind(x->id, t->used ? t->number : 77), t->used && !left, &e);
        gpu_refuse(GPU_XE + x->gpu, calls[x->gpu], 0, 0, 0);
        if (!served)
                return;
        if (!t->used) {
                want(SVMD_STATUS_NO_SUCH, f, &e);
                return;
        }
        if (left) {
                want(SVMD_STATUS_BUSY, f, &e);
                held_off++;
                return;
        }
        driver = code != 0 && code != SVMD_STATUS_TAKEN; /* the one behind them came to the driver too */
        if (inject && e.code == codes[which] && e.value < good + driver) { /* what it says stands, and no more */
                injected++;
                for (unsigned i = 0; i < e.value; i++)
                        apply(t, &b[i]);
                return;
        }
        want(code, f, &e);
        assert_int_equal(e.value, good);
        if (code)
                assert_int_equal(e.address, start_of(f) + b[good].first * PAGE);
        *t = after;
}

/* ---- checks ---- */

/* xe says where something is, amdgpu what, of memory alone. */
static bool differs(const struct gpu_file *x, const struct cell *there, const struct cell *known) {
        if (x->gpu == 0)
                return (there->handle != NOTHING) != (known->handle != NOTHING);
        if (there->handle <= 0)
                return known->handle > 0;
        return there->handle != known->handle || there->offset != known->offset;
}

static void do_check(unsigned f) {
        struct gpu_file *x = &files[f];
        const struct page_table *t = any_table(x);
        uint64_t bytes = 0, first = 0;
        struct gpu_end e;

        if (!ask(f, mk_drm_check(x->id, t->used ? t->number : 77), t->used && x->gpu != 2, &e))
                return;
        if (!t->used || x->gpu == 2) {
                want(t->used ? SVMD_STATUS_NODE_KIND : SVMD_STATUS_NO_SUCH, f, &e);
                return;
        }
        want(0, f, &e);
        for (unsigned i = PAGES; i-- > 0;)
                if (differs(x, &t->there[i], &t->known[i])) {
                        bytes += PAGE;
                        first = start_of(f) + i * PAGE;
                }
        assert_int_equal(e.value, bytes);
        assert_int_equal(e.address, bytes ? first : e.address);
        differed += bytes != 0;
}

/* ---- sessions end, and svmd is killed ---- */

/* What the last session left in the file is taken out first. */
static Svmd__V1__Result *give_when_left(unsigned s, unsigned f) {
        Svmd__V1__Result *r = gpu_give(&client[s], GPU_NODES + files[f].gpu, dup(files[f].fd));

        for (unsigned i = 0; i < 30000 && r->code == SVMD_STATUS_BUSY; i++) {
                usleep(1000);
                r = gpu_give(&client[s], GPU_NODES + files[f].gpu, dup(files[f].fd));
        }
        return r;
}

static void come(unsigned s) {
        client_open(&world, &client[s], 1000, 1000, false);
        client_greet(&client[s], "");
        client[s].deaf = true;
        for (unsigned f = s * KINDS; f < (s + 1) * KINDS; f++) {
                Svmd__V1__Result *r = give_when_left(s, f);

                if (r->code)
                        fail_msg("file %u: %u %s", f, r->code, r->text);
                files[f].id = r->id;
        }
        if (!first_at)
                first_at = client[s].session->partition->slice.start;
        reservation[s] = must(&client[s], mk_reserve(PAGES * PAGE, 0, start_of(s * KINDS), "", 0))->id;
        leaves[s].open = false;
}

static void check_left(unsigned f) {
        for (unsigned i = 0; i < TABLES; i++) {
                struct page_table *t = &files[f].table[i];

                if (t->used)
                        assert_int_equal(gpu_rows(f, t->number), files[f].gpu == 0 ? SIZE_MAX : 0);
                *t = (struct page_table){ 0 };
        }
}

/* Processes keep their files, and give them to the next session at once. */
static void leave(unsigned s) {
        client_close(&client[s]);
        come(s);
        for (unsigned f = s * KINDS; f < (s + 1) * KINDS; f++)
                check_left(f);
        ends++;
}

/* svmd knows its page tables again, and nothing of what is in them. */
static void restart(void) {
        struct client *all[SESSIONS];

        for (unsigned s = 0; s < SESSIONS; s++)
                all[s] = &client[s];
        world_settle(&world);
        if (any(2))
                assert_int_equal(journal_snapshot(world.svc), 0);
        world_bury(world_restart_as_was(&world, all, SESSIONS));
        for (unsigned f = 0; f < FILES; f++)
                for (unsigned i = 0; i < TABLES; i++)
                        memset(files[f].table[i].known, 0, sizeof(files[f].table[i].known));
        restarts++;
}

static void set_up(void) {
        gpus_open();
        world_shape = gpus_shape;
        world_open(&world, 0);
        world_shape = NULL;
        world.options.boottime_ns = world.svc->options.boottime_ns = now;
        for (unsigned f = 0; f < FILES; f++) {
                struct nouveau_vm_init v = { .kernel_address = 1ull << 46, .kernel_size = 1ull << 46 };

                files[f] = (struct gpu_file){ .gpu = f % KINDS, .fd = gpu_open(GPU_XE + f % KINDS) };
                if (files[f].gpu == 2)
                        assert_int_equal(gpu_call(f, NOUVEAU_VM_INIT, &v), 0);
                for (unsigned i = 0; i < MEMORIES; i++)
                        files[f].memory[i] = gpu_memory(f, 16 * PAGE);
        }
        for (unsigned s = 0; s < SESSIONS; s++)
                come(s);
}

/* Enough of what seldom happens; where it has not yet, there are more requests. */
static bool has_met(unsigned long wanted) {
        return injected > wanted / 200 && starved > wanted / 500 && differed > wanted / 200 && told > wanted / 50 &&
               held_off > wanted / 200 && expired > wanted / 1000;
}

static void test_random(void **state) {
        static void (*const steps[])(unsigned f) = { do_make,  do_make, do_make, do_let_go, do_behind, do_check,
                                                     do_check, do_bind, do_bind, do_bind,   do_bind,   do_bind,
                                                     do_leave, do_tell, do_tell, do_settle };
        const char *text = getenv("SVMD_SEED"), *count = getenv("SVMD_OPS");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
        unsigned long wanted = count ? strtoul(count, NULL, 0) : USUAL;

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        fflush(stdout);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        set_up();
        while (asked < wanted || (asked < 20 * wanted && !has_met(wanted))) {
                ops_reset();
                steps[any(sizeof(steps) / sizeof(steps[0]))]((unsigned)any(FILES));
                check_files();
                if (any(100) == 0)
                        do_expire((unsigned)any(FILES));
                if (any(200) == 0)
                        leave((unsigned)any(SESSIONS));
                if (any(400) == 0)
                        restart();
                if (any(50) == 0)
                        check_world(&world);
        }
        printf("%lu requests, %lu refused, %lu of them by drivers that were told to, %lu for want of memory; %lu checks "
               "found something; told of %lu, %lu held off meanwhile, %lu ran out; %lu ends, %lu restarts\n",
               asked, refused, injected, starved, differed, told, held_off, expired, ends, restarts);
        assert_true(has_met(wanted));
        assert_true(refused < asked * 3 / 4);
        for (unsigned s = 0; s < SESSIONS; s++)
                client_close(&client[s]);
        world_close(&world);
        for (unsigned f = 0; f < FILES; f++)
                close(files[f].fd);
        assert_true(gpus_close());
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
