/*
 *      block:   | head | object object object ... never used |
 *
 * A block is aligned to its size, so an object's block is found from its address. Objects that were put back are a list
 * through the objects themselves; behind `fresh` nothing was ever used, so nothing there has memory yet. One empty
 * block is kept, so that taking and putting back at the edge of a block costs no block each time.
 */
#include "base/slab.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"

#define BLOCK (2ul << 20)
#define FIRST 64 /* of the objects in a block */

struct block {
        struct list link; /* in slab->roomy */
        struct slab *slab;
        void *free;
        uint32_t used, fresh; /* objects; `fresh` of them were used ever */
};

_Static_assert(sizeof(struct block) <= FIRST, "the head of a block lies before its objects");

/* An object that was put back is not to be touched; under AddressSanitizer touching it is an error, as with free(). */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GUARD(p, size)   __asan_poison_memory_region(p, size)
#define UNGUARD(p, size) __asan_unpoison_memory_region(p, size)
#else
#define GUARD(p, size)   (void)0
#define UNGUARD(p, size) (void)0
#endif

void slab_init(struct slab *s, size_t size) {
        *s = (struct slab){ .size = (size + 7) & ~(size_t)7 };
        list_init(&s->roomy);
}

static void block_free(struct block *b) {
        list_remove(&b->link);
        b->slab->blocks--;
        UNGUARD(b, BLOCK);
        alloc_free(b);
}

void slab_fini(struct slab *s) {
        list_for_each_safe (l, &s->roomy)
                block_free(container_of(l, struct block, link));
}

static struct block *block_new(struct slab *s) {
        struct block *b = alloc_block(BLOCK);

        if (!b)
                return NULL;
        if (s->blocks++ > 0)
                (void)madvise(b, BLOCK, MADV_HUGEPAGE);
        *b = (struct block){ .slab = s };
        list_push_front(&s->roomy, &b->link);
        s->empty++;
        return b;
}

static bool block_full(const struct block *b) {
        return !b->free && FIRST + (b->fresh + 1ul) * b->slab->size > BLOCK;
}

static void *block_take(struct block *b) {
        char *p = b->free;

        if (p) {
                UNGUARD(p, b->slab->size);
                b->free = *(void **)p;
        } else {
                p = (char *)b + FIRST + b->fresh++ * b->slab->size;
        }
        b->slab->empty -= b->used++ == 0;
        if (block_full(b))
                list_remove(&b->link);
        return p;
}

void *slab_take(struct slab *s) {
        struct block *b;

        if (alloc_refused())
                return NULL;
        b = list_empty(&s->roomy) ? block_new(s) : container_of(s->roomy.next, struct block, link);
        return b ? memset(block_take(b), 0, s->size) : NULL;
}

void slab_put(void *object) {
        struct block *b = (struct block *)((uintptr_t)object & ~(BLOCK - 1));

        if (!object)
                return;
        if (block_full(b))
                list_push_front(&b->slab->roomy, &b->link);
        *(void **)object = b->free;
        b->free = object;
        GUARD(object, b->slab->size);
        if (--b->used > 0)
                return;
        if (b->slab->empty > 0) {
                block_free(b);
                return;
        }
        b->slab->empty++;
        list_remove(&b->link);
        list_push_back(&b->slab->roomy, &b->link);
}
