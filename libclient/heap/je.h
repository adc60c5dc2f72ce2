#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The parts of jemalloc 5 that are used, under the names that CMakeLists.txt gives them. */
void *svmd_je_malloc(size_t size);
void *svmd_je_calloc(size_t count, size_t size);
void *svmd_je_realloc(void *p, size_t size);
void svmd_je_free(void *p);
int svmd_je_posix_memalign(void **ret, size_t alignment, size_t size);
void *svmd_je_memalign(size_t alignment, size_t size);
size_t svmd_je_malloc_usable_size(void *p);
int svmd_je_mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size);

/* Where extents come from; a function that gives true did not do it. The layout is jemalloc's extent_hooks_t. */
struct je_hooks {
        void *(*alloc)(struct je_hooks *, void *at, size_t size, size_t alignment, bool *zero, bool *commit,
                       unsigned arena);
        bool (*dalloc)(struct je_hooks *, void *p, size_t size, bool committed, unsigned arena);
        void (*destroy)(struct je_hooks *, void *p, size_t size, bool committed, unsigned arena);
        bool (*commit)(struct je_hooks *, void *p, size_t size, size_t offset, size_t length, unsigned arena);
        bool (*decommit)(struct je_hooks *, void *p, size_t size, size_t offset, size_t length, unsigned arena);
        bool (*purge_lazy)(struct je_hooks *, void *p, size_t size, size_t offset, size_t length, unsigned arena);
        bool (*purge_forced)(struct je_hooks *, void *p, size_t size, size_t offset, size_t length, unsigned arena);
        bool (*split)(struct je_hooks *, void *p, size_t size, size_t a, size_t b, bool committed, unsigned arena);
        bool (*merge)(struct je_hooks *, void *a, size_t size_a, void *b, size_t size_b, bool committed,
                      unsigned arena);
};
