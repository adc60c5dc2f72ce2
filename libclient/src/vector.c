#include "vector.h"

#include <stdlib.h>

#include "agent/cuda.h"
#include "error.h"
#include "fdcache.h"
#include "managed.h"
#include "proto/limits.h"
#include "va.h"
#include "wire.h"

/*
 * Every change of what the CPU sees goes through here, single operations as vectors of one:
 *
 *      allocate records -> blank what will go -> send, wait -> change the records -> show what is left and new
 *
 * The part after the reply allocates nothing. Only the kernel can still refuse a mapping (it has too many); then the
 * daemon is asked to unmap that part again, and the call fails.
 */

/* ---- building ---- */

static void item_init(struct item *i, Svmd__V1__Op__OpCase op_case) {
        svmd__v1__op__init(&i->op);
        i->op.op_case = op_case;
        i->record = NULL;
}

void item_reserve(struct item *i, uint64_t size, uint64_t alignment, const void *address) {
        item_init(i, SVMD__V1__OP__OP_RESERVE);
        svmd__v1__reserve__init(&i->body.reserve);
        i->body.reserve.size = size;
        i->body.reserve.align = alignment;
        i->body.reserve.address = (uintptr_t)address;
}

int item_free(svmd_session *s, struct item *i, const void *address) {
        const struct reservation *r;
        uint64_t id = 0;

        pthread_mutex_lock(&s->lock);
        r = va_at(s, (uintptr_t)address);
        if (r && r->range.start == (uintptr_t)address)
                id = r->id;
        pthread_mutex_unlock(&s->lock);
        if (!id)
                return fail(SVMD_E_NO_SUCH,
                            "%p is not the start of a reservation that this session holds or has open; give the "
                            "address that svmd_address_reserve() or svmd_address_open() returned",
                            address);
        item_init(i, SVMD__V1__OP__OP_FREE);
        svmd__v1__free__init(&i->body.free);
        i->body.free.reservation = id;
        i->address = (uintptr_t)address;
        return 0;
}

void item_mem_create(struct item *i, uint64_t size, svmd_node node, unsigned flags, svmd_lease lease) {
        item_init(i, SVMD__V1__OP__OP_MEM_CREATE);
        svmd__v1__mem_create__init(&i->body.mem_create);
        i->body.mem_create.node = node;
        i->body.mem_create.size = size;
        i->body.mem_create.flags = flags;
        i->body.mem_create.lease = lease;
}

void item_mem_release(struct item *i, svmd_mem mem) {
        item_init(i, SVMD__V1__OP__OP_MEM_RELEASE);
        svmd__v1__mem_release__init(&i->body.mem_release);
        i->body.mem_release.memory = mem;
}

void item_map(struct item *i, svmd_space space, uint64_t address, uint64_t size, uint64_t offset, svmd_mem mem,
              unsigned access, unsigned flags) {
        item_init(i, SVMD__V1__OP__OP_MAP);
        svmd__v1__map__init(&i->body.map);
        i->body.map.space = space;
        i->body.map.address = address;
        i->body.map.size = size;
        i->body.map.memory = mem;
        i->body.map.offset = offset;
        i->body.map.access = access;
        i->body.map.flags = flags;
}

void item_unmap(struct item *i, svmd_space space, uint64_t address, uint64_t size) {
        item_init(i, SVMD__V1__OP__OP_UNMAP);
        svmd__v1__unmap__init(&i->body.unmap);
        i->body.unmap.space = space;
        i->body.unmap.address = address;
        i->body.unmap.size = size;
}

void item_set_access(struct item *i, svmd_space space, uint64_t address, uint64_t size, unsigned access) {
        item_init(i, SVMD__V1__OP__OP_SET_ACCESS);
        svmd__v1__set_access__init(&i->body.set_access);
        i->body.set_access.space = space;
        i->body.set_access.address = address;
        i->body.set_access.size = size;
        i->body.set_access.access = access;
}

void item_sparse_map(struct item *i, svmd_space space, uint64_t address, uint64_t size, unsigned writes) {
        item_init(i, SVMD__V1__OP__OP_SPARSE_MAP);
        svmd__v1__sparse_map__init(&i->body.sparse_map);
        i->body.sparse_map.space = space;
        i->body.sparse_map.address = address;
        i->body.sparse_map.size = size;
        i->body.sparse_map.writes = (Svmd__V1__SparseWrites)writes;
}

void item_sparse_unmap(struct item *i, svmd_space space, uint64_t address, uint64_t size) {
        item_init(i, SVMD__V1__OP__OP_SPARSE_UNMAP);
        svmd__v1__sparse_unmap__init(&i->body.sparse_unmap);
        i->body.sparse_unmap.space = space;
        i->body.sparse_unmap.address = address;
        i->body.sparse_unmap.size = size;
}

/* ---- what an operation means for the CPU ---- */

enum {
        HIDES_VIEWS = 1,  /* takes away what views show in the range */
        HIDES_SPARSE = 2, /* and what is sparse in it */
        SHOWS = 4,        /* makes views dirty */
        SHOWS_SPARSE = 8, /* makes what is between views read zero */
        REMEMBERS = 16,   /* is for the records alone */
        HIDES_RANGE = 32, /* takes the access to a managed range away */
};

struct effect {
        unsigned what;
        uint64_t start, end;
};

static struct effect effect(unsigned what, uint64_t start, uint64_t size) {
        return (struct effect){ what, start, size > UINT64_MAX - start ? UINT64_MAX : start + size };
}

static struct effect effect_of_map(const Svmd__V1__Map *m) {
        if (m->space != SVMD_CPU)
                return effect(0, 0, 0);
        return effect(SHOWS | (m->flags & SVMD_MAP_REPLACE ? HIDES_VIEWS : 0), m->address, m->size);
}

static struct effect effect_of_free(const svmd_session *s, const struct item *i) {
        const struct reservation *r = va_at(s, i->address);

        if (!r)
                return effect(0, 0, 0);
        return effect(r->granule ? HIDES_RANGE : HIDES_VIEWS | HIDES_SPARSE, i->address, r->range.end - r->range.start);
}

static struct effect effect_of(const svmd_session *s, const struct item *i) {
        switch (i->op.op_case) {
        case SVMD__V1__OP__OP_RESERVE:
        case SVMD__V1__OP__OP_MEM_RELEASE: return effect(REMEMBERS, 0, 0);
        case SVMD__V1__OP__OP_FREE: return effect_of_free(s, i);
        case SVMD__V1__OP__OP_MAP: return effect_of_map(&i->body.map);
        case SVMD__V1__OP__OP_UNMAP:
                return effect(i->body.unmap.space ? 0 : HIDES_VIEWS, i->body.unmap.address, i->body.unmap.size);
        case SVMD__V1__OP__OP_SET_ACCESS:
                return effect(i->body.set_access.space ? 0 : SHOWS, i->body.set_access.address,
                              i->body.set_access.size);
        case SVMD__V1__OP__OP_SPARSE_MAP:
                return effect(i->body.sparse_map.space ? 0 : SHOWS_SPARSE, i->body.sparse_map.address,
                              i->body.sparse_map.size);
        case SVMD__V1__OP__OP_SPARSE_UNMAP:
                return effect(i->body.sparse_unmap.space ? 0 : HIDES_SPARSE, i->body.sparse_unmap.address,
                              i->body.sparse_unmap.size);
        default: return effect(0, 0, 0);
        }
}

/* ---- before ---- */

/* No operation needs more new views than this. */
enum { SPARES = 3 };

static int prepare(svmd_session *s, struct item *items, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                if (items[i].op.op_case != SVMD__V1__OP__OP_RESERVE)
                        continue;
                items[i].record = calloc(1, sizeof(*items[i].record));
                if (!items[i].record)
                        return fail_memory();
        }
        return views_spare(s, SPARES * count);
}

static void free_records(struct item *items, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                free(items[i].record);
                items[i].record = NULL;
        }
}

static int hide(svmd_session *s, const struct effect *e) {
        int r = 0;

        if (e->what & HIDES_VIEWS)
                r = va_blank(s, e->start, e->end);
        if (!r && (e->what & HIDES_SPARSE))
                r = va_blank_sparse(s, e->start, e->end);
        if (e->what & HIDES_RANGE)
                r = managed_hide(s, va_at(s, e->start));
        return r;
}

static int hide_all(svmd_session *s, const struct item *items, unsigned count, unsigned mode) {
        int r = 0;

        for (unsigned i = 0; !r && i < count && mode != SVMD_DRY_RUN; i++) {
                struct effect e = effect_of(s, &items[i]);

                r = hide(s, &e);
        }
        return r;
}

/* ---- after: the records ---- */

static void apply_reserve(svmd_session *s, struct item *i, const Svmd__V1__Result *result) {
        struct reservation *r = i->record;

        i->record = NULL;
        r->id = result->id;
        r->range.start = result->address;
        r->range.end = result->address + result->size;
        r->generation = result->generation;
        r->access = SVMD_ACCESS_READ_WRITE;
        r->shared = i->body.reserve.name[0];
        va_add(s, r);
}

static void apply_map(svmd_session *s, const Svmd__V1__Map *m) {
        uint64_t end = m->address + m->size;

        views_cut(s, &s->views, m->address, end);
        views_add(s, &s->views, m->address, end, m->memory, m->offset, m->access);
}

static void apply_free(svmd_session *s, const struct item *i) {
        struct reservation *r = va_at(s, i->address);

        if (r)
                va_drop(s, r);
}

static void apply_sparse_map(svmd_session *s, const struct effect *e) {
        views_cut(s, &s->sparse, e->start, e->end);
        views_add(s, &s->sparse, e->start, e->end, 0, 0, SVMD_ACCESS_READ);
}

static void apply(svmd_session *s, struct item *i, const Svmd__V1__Result *result) {
        struct effect e = effect_of(s, i);

        if (!e.what)
                return;
        switch (i->op.op_case) {
        case SVMD__V1__OP__OP_RESERVE: apply_reserve(s, i, result); break;
        case SVMD__V1__OP__OP_FREE: apply_free(s, i); break;
        case SVMD__V1__OP__OP_MEM_RELEASE: fdcache_drop(s, i->body.mem_release.memory); break;
        case SVMD__V1__OP__OP_MAP: apply_map(s, &i->body.map); break;
        case SVMD__V1__OP__OP_UNMAP: views_cut(s, &s->views, e.start, e.end); break;
        case SVMD__V1__OP__OP_SET_ACCESS: views_access(s, e.start, e.end, i->body.set_access.access); break;
        case SVMD__V1__OP__OP_SPARSE_MAP: apply_sparse_map(s, &e); break;
        case SVMD__V1__OP__OP_SPARSE_UNMAP: views_cut(s, &s->sparse, e.start, e.end); break;
        default: break;
        }
}

/* ---- after: the kernel ---- */

/* The daemon shows what this process cannot: it is taken back. */
static void take_back(svmd_session *s, uint64_t start, uint64_t end) {
        char text[ERROR_MAX];
        struct item item;

        error_save(text);
        item_unmap(&item, SVMD_CPU, start, end - start);
        item.op.unmap = &item.body.unmap;
        call_simple(s, &item.op, SVMD__V1__MODE__BEST_EFFORT);
        error_restore(text);
}

static int show(svmd_session *s, const struct effect *e) {
        uint64_t start, end;
        int r, first = 0;

        while ((r = va_show(s, e->start, e->end, &start, &end))) {
                take_back(s, start, end);
                first = first ? first : r;
        }
        return first;
}

/* What was hidden and is still there, or is new. */
static int show_item(svmd_session *s, const struct item *i) {
        struct effect e = effect_of(s, i);
        int r = 0;

        if (e.what & (HIDES_VIEWS | HIDES_SPARSE | SHOWS_SPARSE))
                r = va_show_sparse(s, e.start, e.end);
        if (e.what & HIDES_VIEWS)
                views_dirty(s, e.start, e.end);
        if (!r && (e.what & (HIDES_VIEWS | SHOWS)))
                r = show(s, &e);
        if (e.what & HIDES_RANGE)
                r = managed_show(s, va_at(s, e.start));
        return r;
}

/* ---- all of it ---- */

static void set_bodies(struct item *items, unsigned count, Svmd__V1__Op **ops) {
        for (unsigned i = 0; i < count; i++) {
                /* All members of both unions are pointers to, and bodies of, messages. */
                items[i].op.hello = (void *)&items[i].body;
                ops[i] = &items[i].op;
        }
}

static bool is_first_failure(const Svmd__V1__Result *result, int first) {
        if (!result->code)
                return false;
        return !first || (first == SVMD_E_ABORTED && result->code != SVMD_E_ABORTED);
}

static int read_results(const struct call *c, unsigned count, struct svmd_result *results) {
        int first = 0;

        for (unsigned i = 0; i < count; i++) {
                const Svmd__V1__Result *result = call_result(c, i);

                if (is_first_failure(result, first))
                        first = fail_result(result);
                if (results)
                        results[i] = (struct svmd_result){
                                .code = (int)result->code,
                                .id = result->id,
                                .address = result->address,
                        };
        }
        return first;
}

static void apply_all(svmd_session *s, const struct call *c, struct item *items, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                const Svmd__V1__Result *result = call_result(c, i);

                if (!result->code)
                        apply(s, &items[i], result);
        }
}

static int show_all(svmd_session *s, const struct item *items, unsigned count) {
        int first = 0;

        for (unsigned i = 0; i < count; i++) {
                int r = show_item(s, &items[i]);

                first = first ? first : r;
        }
        return first;
}

/* What svmd has allowed and only this process can do; `r` is what failed before, or 0. */
static int run_agent(svmd_session *s, const struct call *c, const Svmd__V1__Request *request, const struct item *items,
                     unsigned count, struct svmd_result *results, int r) {
        char text[ERROR_MAX];
        int k;

        if (!s->cuda || request->mode == SVMD__V1__MODE__DRY_RUN)
                return r;
        error_save(text);
        k = cuda_execute(s, c, items, count, (unsigned)request->mode, results);
        if (r)
                error_restore(text);
        return r ? r : k;
}

static int run_seen(svmd_session *s, const Svmd__V1__Request *request, struct item *items, unsigned count,
                    struct svmd_result *results) {
        struct call *c = NULL;
        char text[ERROR_MAX];
        int r, shown = 0;

        r = prepare(s, items, count);
        if (!r)
                r = hide_all(s, items, count, request->mode);
        if (!r)
                r = call_run(s, request, NULL, 0, NULL, &c);
        if (c)
                r = read_results(c, count, results);
        if (c && request->mode != SVMD__V1__MODE__DRY_RUN)
                apply_all(s, c, items, count);
        if (c)
                r = run_agent(s, c, request, items, count, results, r);
        if (request->mode != SVMD__V1__MODE__DRY_RUN) {
                error_save(text);
                shown = show_all(s, items, count);
                if (r)
                        error_restore(text);
        }
        if (c)
                call_put(s, c);
        free_records(items, count);
        return r ? r : shown;
}

static int run_unseen(svmd_session *s, const Svmd__V1__Request *request, struct item *items, unsigned count,
                      struct svmd_result *results) {
        struct call *c;
        int r = call_run(s, request, NULL, 0, NULL, &c);

        if (r)
                return r;
        r = read_results(c, count, results);
        r = run_agent(s, c, request, items, count, results, r);
        call_put(s, c);
        return r;
}

/* ---- in two requests ----
 *
 * What svmd allows the agent then does, and that takes longer. Where each operation stands by itself the first of them
 * go ahead: svmd looks at the others while they are done. It needs a small part of the time that a driver does, so a
 * small part is enough to keep the agent busy until the rest is answered.
 */
enum { AHEAD_LEAST = 64, AHEAD_PART = 16 };

static bool goes_ahead(const svmd_session *s, const Svmd__V1__Request *request) {
        return s->cuda && request->mode == SVMD__V1__MODE__BEST_EFFORT && request->n_ops >= AHEAD_LEAST;
}

struct part {
        Svmd__V1__Request request;
        struct item *items;
        struct svmd_result *results; /* or NULL */
        struct call *call;           /* NULL: it could not be sent */
        int code;                    /* of what is not known of each operation */
};

static struct part part_of(const Svmd__V1__Request *whole, struct item *items, struct svmd_result *results,
                           unsigned first, unsigned count) {
        struct part p = { .request = *whole, .items = items + first, .results = results ? results + first : NULL };

        p.request.ops += first;
        p.request.n_ops = count;
        return p;
}

static void part_send(svmd_session *s, struct part *p) {
        p->code = call_begin(s, &p->request, &p->call);
}

/* Of a part that svmd did not answer its operations say so: the other part may have been done. */
static int part_finish(svmd_session *s, struct part *p) {
        unsigned count = (unsigned)p->request.n_ops;
        int r;

        if (p->call)
                p->code = call_end(s, p->call);
        for (unsigned i = 0; p->code && p->results && i < count; i++)
                p->results[i] = (struct svmd_result){ .code = p->code };
        if (p->code)
                return p->code;
        r = read_results(p->call, count, p->results);
        r = run_agent(s, p->call, &p->request, p->items, count, p->results, r);
        call_put(s, p->call);
        return r;
}

static int run_ahead(svmd_session *s, const Svmd__V1__Request *request, struct item *items, unsigned count,
                     struct svmd_result *results) {
        unsigned ahead = count / AHEAD_PART;
        struct part first = part_of(request, items, results, 0, ahead);
        struct part rest = part_of(request, items, results, ahead, count - ahead);
        char text[ERROR_MAX];
        int r, k;

        part_send(s, &first);
        if (first.code)
                return first.code;
        part_send(s, &rest);
        r = part_finish(s, &first);
        if (r)
                error_save(text);
        k = part_finish(s, &rest);
        if (r)
                error_restore(text);
        return r ? r : k;
}

static bool is_seen(const svmd_session *s, const struct item *items, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                /* The size of what is freed does not matter here, and reading it would need the lock. */
                if (items[i].op.op_case == SVMD__V1__OP__OP_FREE || effect_of(s, &items[i]).what)
                        return true;
        }
        return false;
}

int vector_run(svmd_session *s, struct item *items, unsigned count, unsigned mode, struct svmd_result *results) {
        Svmd__V1__Op *ops[SVMD_OPS_MAX];
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        int r;

        request.mode = (Svmd__V1__Mode)mode;
        request.n_ops = count;
        request.ops = ops;
        set_bodies(items, count, ops);
        r = s->cuda ? cuda_check(s, items, count) : 0;
        if (r)
                return r;
        if (!is_seen(s, items, count))
                return goes_ahead(s, &request) ? run_ahead(s, &request, items, count, results)
                                               : run_unseen(s, &request, items, count, results);
        pthread_mutex_lock(&s->va_lock);
        r = run_seen(s, &request, items, count, results);
        pthread_mutex_unlock(&s->va_lock);
        return r;
}
