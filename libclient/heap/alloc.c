#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "je.h"
#include "own.h"

/*
 * The program's malloc(). jemalloc is linked in under names of its own (je.h); a call within libsvmd that the heap
 * itself made goes to own.c, because jemalloc may be in the middle of what made the heap call libsvmd. Both kinds may
 * be freed from anywhere. Within libsvmd nothing asks for more than the alignment of malloc().
 */
#define EXPORT __attribute__((visibility("default")))

enum { PAGE_MASK = PAGE - 1 };

/* jemalloc had no room in the segments: whether there is more now. Not within jemalloc's locks, which fork() takes
 * before libsvmd's. A call out of libsvmd, which the program made itself, must not begin another one. */
static bool more(const void *caller) {
        return !heap_inside && segment_more(caller);
}

#define CALLER __builtin_return_address(0)

EXPORT void *malloc(size_t size) {
        void *p;

        if (__builtin_expect(heap_inside, 0))
                return own_alloc(size);
        p = svmd_je_malloc(size);
        while (__builtin_expect(!p, 0) && more(CALLER))
                p = svmd_je_malloc(size);
        return p;
}

static void *own_calloc(size_t count, size_t size) {
        size_t bytes;
        void *p;

        if (__builtin_mul_overflow(count, size, &bytes))
                return NULL;
        p = own_alloc(bytes);
        if (p)
                memset(p, 0, bytes);
        return p;
}

EXPORT void *calloc(size_t count, size_t size) {
        void *p;

        if (__builtin_expect(heap_inside, 0))
                return own_calloc(count, size);
        p = svmd_je_calloc(count, size);
        while (__builtin_expect(!p, 0) && more(CALLER))
                p = svmd_je_calloc(count, size);
        return p;
}

EXPORT void *realloc(void *p, size_t size) {
        void *to;

        if (__builtin_expect(p && own_has(p), 0))
                return own_realloc(p, size);
        if (__builtin_expect(!p && heap_inside, 0))
                return own_alloc(size);
        to = svmd_je_realloc(p, size);
        while (__builtin_expect(!to && size, 0) && more(CALLER))
                to = svmd_je_realloc(p, size);
        return to;
}

EXPORT void free(void *p) {
        if (__builtin_expect(own_has(p), 0))
                own_free(p);
        else
                svmd_je_free(p);
}

EXPORT int posix_memalign(void **ret, size_t alignment, size_t size) {
        int r = svmd_je_posix_memalign(ret, alignment, size);

        while (r == ENOMEM && more(CALLER))
                r = svmd_je_posix_memalign(ret, alignment, size);
        return r;
}

static void *aligned(size_t alignment, size_t size, const void *caller) {
        void *p = svmd_je_memalign(alignment, size);

        while (!p && more(caller))
                p = svmd_je_memalign(alignment, size);
        return p;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
        return aligned(alignment, size, CALLER);
}

EXPORT void *memalign(size_t alignment, size_t size) {
        return aligned(alignment, size, CALLER);
}

EXPORT void *valloc(size_t size) {
        return aligned(PAGE, size, CALLER);
}

EXPORT void *pvalloc(size_t size) {
        return aligned(PAGE, (size + PAGE_MASK) & ~(size_t)PAGE_MASK, CALLER);
}

EXPORT size_t malloc_usable_size(void *p) {
        return p && own_has(p) ? own_size(p) : svmd_je_malloc_usable_size(p);
}
