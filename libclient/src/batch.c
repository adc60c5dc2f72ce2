#include <stdlib.h>

#include "error.h"
#include "proto/limits.h"
#include "vector.h"

struct svmd_batch {
        svmd_session *session;
        struct item *items;
        unsigned count, room;
};

enum { ROOM_FIRST = 64 };

int svmd_batch_new(svmd_session *s, svmd_batch **ret) {
        svmd_batch *b;
        int r = session_check(s);

        if (r)
                return r;
        b = calloc(1, sizeof(*b));
        if (!b)
                return fail_memory();
        b->session = s;
        *ret = b;
        return 0;
}

void svmd_batch_free(svmd_batch *b) {
        if (!b)
                return;
        free(b->items);
        free(b);
}

static int grow(svmd_batch *b) {
        unsigned room = b->room ? 2 * b->room : ROOM_FIRST;
        struct item *items = realloc(b->items, room * sizeof(*items));

        if (!items)
                return fail_memory();
        b->items = items;
        b->room = room;
        return 0;
}

/* The place of the next operation, or NULL and the negative code. */
static struct item *next(svmd_batch *b, int *ret_code) {
        int r = 0;

        if (b->count == SVMD_OPS_MAX)
                r = fail(SVMD_E_SIZE, "the vector holds %d operations already; submit it first", SVMD_OPS_MAX);
        else if (b->count == b->room)
                r = grow(b);
        if (r) {
                *ret_code = -r;
                return NULL;
        }
        return &b->items[b->count];
}

int svmd_batch_reserve(svmd_batch *b, size_t size, size_t alignment, void *address) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_reserve(i, size, alignment, address);
        return (int)b->count++;
}

int svmd_batch_free_address(svmd_batch *b, void *address) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        r = item_free(b->session, i, address);
        return r ? -r : (int)b->count++;
}

int svmd_batch_mem_create(svmd_batch *b, size_t size, svmd_node node, unsigned flags) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_mem_create(i, size, node, flags, 0);
        return (int)b->count++;
}

int svmd_batch_mem_release(svmd_batch *b, svmd_mem mem) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_mem_release(i, mem);
        return (int)b->count++;
}

int svmd_batch_map(svmd_batch *b, svmd_space space, uint64_t address, size_t size, size_t offset, svmd_mem mem,
                   unsigned access, unsigned flags) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_map(i, space, address, size, offset, mem, access, flags);
        return (int)b->count++;
}

int svmd_batch_unmap(svmd_batch *b, svmd_space space, uint64_t address, size_t size) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_unmap(i, space, address, size);
        return (int)b->count++;
}

int svmd_batch_set_access(svmd_batch *b, svmd_space space, uint64_t address, size_t size, unsigned access) {
        int r = 0;
        struct item *i = next(b, &r);

        if (!i)
                return r;
        item_set_access(i, space, address, size, access);
        return (int)b->count++;
}

int svmd_batch_submit(svmd_batch *b, unsigned mode, struct svmd_result *results) {
        unsigned count = b->count;
        int r = session_check(b->session);

        if (!r && !count)
                r = fail(SVMD_E_SHAPE, "the vector holds no operation");
        if (!r && mode > SVMD_DRY_RUN)
                r = fail(SVMD_E_INVALID, "%u is none of SVMD_BEST_EFFORT, SVMD_ALL_OR_NOTHING, SVMD_DRY_RUN", mode);
        if (r)
                return r;
        b->count = 0;
        return session_leave(b->session, vector_run(b->session, b->items, count, mode, results));
}
