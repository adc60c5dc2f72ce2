#pragma once

#include <stddef.h>

/*
 * Every allocation of the core and of the layers above it goes through here,
 * so that a test can make the Nth one fail and see the rollback.
 *
 * alloc_zero() returns zeroed memory or NULL; alloc_free(NULL) is a no-op.
 */
void *alloc_zero(size_t size);
void *alloc_array(size_t count, size_t size); /* zeroed; NULL when count * size overflows */
void *alloc_grow(void *old, size_t old_size,
                 size_t new_size); /* like realloc; the new part is zeroed; old stays valid when NULL is returned */
char *alloc_string(const char *s);
void alloc_free(void *p);

/* Aligned to `size`, a power of two, and not zeroed: what an allocator of its own is made of. It is not one of those
 * that a test counts; such an allocator asks alloc_refused() for each object. */
void *alloc_block(size_t size);
int alloc_refused(void);

/* Tests only: the allocation that is `countdown` calls away fails (1 is the next), and so do all
 * that follow until alloc_fail_off(). Per thread. alloc_fail_hit() tells whether one failed. */
void alloc_fail_at(unsigned long countdown);
void alloc_fail_off(void);
int alloc_fail_hit(void);
