#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>

#include "cuda.h"
#include "cuda_state.h"
#include "error.h"
#include "vector.h"
#include "wire.h"

#define GRANULE (2ull << 20)

/*
 * Vectors: what CUDA cannot do is refused before they are sent, and what svmd has allowed is done when it has answered.
 * What CUDA then refuses svmd is told to forget.
 */
struct cuda_mapping {
        svmd_space space;
        uint64_t start, end;
};

/* Those of a space that overlap are taken for one, so one can be found by any part of it. */
static int compare(const void *a, const void *b) {
        const struct cuda_mapping *x = a, *y = b;

        if (x->space != y->space)
                return x->space < y->space ? -1 : 1;
        return (x->start >= y->end) - (x->end <= y->start);
}

static struct cuda_mapping *find(const struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        struct cuda_mapping **at = tfind(&(struct cuda_mapping){ space, start, end }, &k->mappings, compare);

        return at && start < end ? *at : NULL;
}

int cuda_unmap(struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        CUresult r, first = CUDA_OK;
        struct cuda_mapping *m;

        while ((m = find(k, space, start, end))) {
                r = k->api->unmap(m->start, m->end - m->start);
                first = first ? first : r;
                tdelete(m, &k->mappings, compare);
                free(m);
        }
        return first == CUDA_OK ? 0 : cuda_fail(k->api, first, "CUDA did not unmap");
}

/* ---- before ---- */

/* CUDA unmaps only what one cuMemMap() mapped, all of it. */
static int check_whole(const struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        const struct cuda_mapping *m = find(k, space, start, start + 1);

        if (!m || m->start == start)
                m = end > start ? find(k, space, end - 1, end) : NULL;
        if (!m || (m->start >= start && m->end <= end))
                return 0;
        return fail(SVMD_E_UNSUPPORTED, "CUDA unmaps whole mappings only, and %#" PRIx64 "-%#" PRIx64 " is one",
                    m->start, m->end);
}

static int check_map(svmd_session *s, const Svmd__V1__Map *m) {
        uint64_t end = s->info.base + s->info.length;

        if (m->address % GRANULE || m->size % GRANULE || m->offset % GRANULE)
                return fail(SVMD_E_ALIGN, "CUDA maps multiples of 2 MiB, at multiples of 2 MiB");
        if (m->address < s->info.base || m->size > end - s->info.base || m->address > end - m->size)
                return fail(SVMD_E_RANGE,
                            "%#" PRIx64 "-%#" PRIx64 " is not in the partition, whose addresses alone are CUDA's here",
                            m->address, m->address + m->size);
        return m->flags & SVMD_MAP_REPLACE ? check_whole(s->cuda, m->space, m->address, m->address + m->size) : 0;
}

static int check_unmap(const struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        if (space == SVMD_CPU)
                return cuda_host_check(k, start, end);
        return cuda_space_of(k, space) ? check_whole(k, space, start, end) : 0;
}

static int check(svmd_session *s, const struct item *x) {
        const Svmd__V1__Unmap *u = &x->body.unmap;
        const Svmd__V1__Map *m = &x->body.map;

        switch (x->op.op_case) {
        case SVMD__V1__OP__OP_MAP:
                if (m->space == SVMD_CPU && m->flags & SVMD_MAP_REPLACE)
                        return cuda_host_check(s->cuda, m->address, m->address + m->size);
                return cuda_space_of(s->cuda, m->space) ? check_map(s, m) : 0;
        case SVMD__V1__OP__OP_UNMAP: return check_unmap(s->cuda, u->space, u->address, u->address + u->size);
        case SVMD__V1__OP__OP_FREE: return cuda_host_check_reservation(s->cuda, x->address);
        default: return 0;
        }
}

int cuda_check(svmd_session *s, const struct item *items, unsigned count) {
        int r = 0;

        pthread_mutex_lock(&s->cuda->lock);
        for (unsigned i = 0; !r && i < count; i++)
                r = check(s, &items[i]);
        pthread_mutex_unlock(&s->cuda->lock);
        return r;
}

/* ---- after ---- */

/* Ranges that lie side by side get their access with one call. */
struct run {
        const struct cuda_space *space;
        uint64_t start, end;
        unsigned access;
};

static int run_flush(struct cuda *k, struct run *run) {
        struct cuda_access access = { { CUDA_DEVICE, 0 }, 0 };
        CUresult r;

        if (run->start == run->end)
                return 0;
        access.location.id = run->space->device;
        access.flags = run->access == SVMD_ACCESS_READ_WRITE ? CUDA_READ_WRITE : run->access ? CUDA_READ : 0;
        r = k->api->set_access(run->start, run->end - run->start, &access, 1);
        run->start = run->end = 0;
        return r == CUDA_OK ? 0 : cuda_fail(k->api, r, "CUDA did not give access");
}

static int run_add(struct cuda *k, struct run *run, const struct cuda_space *space, uint64_t start, uint64_t size,
                   unsigned access) {
        int r = 0;

        if (run->start == run->end || run->end != start || run->space != space || run->access != access) {
                r = run_flush(k, run);
                *run = (struct run){ space, start, start, access };
        }
        run->end += size;
        return r;
}

static int remember(struct cuda *k, const Svmd__V1__Map *m) {
        struct cuda_mapping *new = malloc(sizeof(*new));

        if (new)
                *new = (struct cuda_mapping){ m->space, m->address, m->address + m->size };
        if (new &&tsearch(new, &k->mappings, compare))
                return 0;
        free(new);
        return fail_memory();
}

static int map(svmd_session *s, const Svmd__V1__Map *m, const struct cuda_space *x, struct run *run) {
        struct cuda *k = s->cuda;
        CUhandle handle;
        CUresult e;
        int r = 0;

        if (m->flags & SVMD_MAP_REPLACE)
                r = cuda_unmap(k, m->space, m->address, m->address + m->size);
        if (!r)
                r = cuda_mem_handle(s, m->memory, &handle);
        if (!r && (e = k->api->map(m->address, m->size, m->offset, handle, 0)) != CUDA_OK)
                r = cuda_fail(k->api, e,
                              m->offset ? "CUDA did not map the memory, of which many drivers map the start only"
                                        : "CUDA did not map the memory");
        if (r)
                return r;
        r = remember(k, m);
        if (r) {
                k->api->unmap(m->address, m->size);
                return r;
        }
        return m->access ? run_add(k, run, x, m->address, m->size, m->access) : 0;
}

/* svmd shows what this process does not, or charges what is not there. */
static void take_back(svmd_session *s, const struct item *x, svmd_mem made) {
        char text[ERROR_MAX];
        struct item item;

        if (x->op.op_case == SVMD__V1__OP__OP_MAP)
                item_unmap(&item, x->body.map.space, x->body.map.address, x->body.map.size);
        else if (x->op.op_case == SVMD__V1__OP__OP_MEM_CREATE)
                item_mem_release(&item, made);
        else
                return;
        error_save(text);
        item.op.hello = (void *)&item.body;
        call_simple(s, &item.op, SVMD__V1__MODE__BEST_EFFORT);
        error_restore(text);
}

static int execute(svmd_session *s, const struct item *x, svmd_mem made, struct run *run) {
        struct cuda *k = s->cuda;
        const struct cuda_space *space;

        switch (x->op.op_case) {
        case SVMD__V1__OP__OP_MEM_CREATE:
                space = cuda_space_on(k, x->body.mem_create.node);
                return space ? cuda_mem_make(k, space, made, x->body.mem_create.size) : 0;
        case SVMD__V1__OP__OP_MAP:
                space = cuda_space_of(k, x->body.map.space);
                return space ? map(s, &x->body.map, space, run) : 0;
        case SVMD__V1__OP__OP_UNMAP:
                space = cuda_space_of(k, x->body.unmap.space);
                return space ? cuda_unmap(k, x->body.unmap.space, x->body.unmap.address,
                                          x->body.unmap.address + x->body.unmap.size)
                             : 0;
        case SVMD__V1__OP__OP_SET_ACCESS:
                space = cuda_space_of(k, x->body.set_access.space);
                return space ? run_add(k, run, space, x->body.set_access.address, x->body.set_access.size,
                                       x->body.set_access.access)
                             : 0;
        case SVMD__V1__OP__OP_MEM_RELEASE: cuda_mem_forget(k, x->body.mem_release.memory); return 0;
        default: return 0;
        }
}

/* Of a vector that is to be whole or not at all nothing that it made stays. */
static void unmake(svmd_session *s, const struct call *c, const struct item *items, unsigned count,
                   struct svmd_result *results) {
        for (unsigned i = 0; i < count; i++) {
                svmd_mem made = call_result(c, i)->id;

                if (items[i].op.op_case != SVMD__V1__OP__OP_MEM_CREATE || (results && results[i].code) ||
                    !cuda_space_on(s->cuda, items[i].body.mem_create.node))
                        continue;
                cuda_mem_forget(s->cuda, made);
                take_back(s, &items[i], made);
                if (results)
                        results[i] = (struct svmd_result){ .code = SVMD_E_ABORTED };
        }
}

int cuda_execute(svmd_session *s, const struct call *c, const struct item *items, unsigned count, unsigned mode,
                 struct svmd_result *results) {
        struct cuda *k = s->cuda;
        struct run run = { 0 };
        bool missing = false;
        int first = 0, r;

        pthread_mutex_lock(&k->lock);
        for (unsigned i = 0; i < count; i++) {
                const Svmd__V1__Result *result = call_result(c, i);

                if (result->code)
                        continue;
                r = execute(s, &items[i], result->id, &run);
                if (r) {
                        take_back(s, &items[i], result->id);
                        missing |= items[i].op.op_case == SVMD__V1__OP__OP_MEM_CREATE;
                        if (results)
                                results[i] = (struct svmd_result){ .code = r };
                }
                first = first ? first : r;
        }
        r = run_flush(k, &run);
        if (missing && mode == SVMD__V1__MODE__ALL_OR_NOTHING)
                unmake(s, c, items, count, results);
        pthread_mutex_unlock(&k->lock);
        return first ? first : r;
}
