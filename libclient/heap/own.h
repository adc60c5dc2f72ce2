#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Memory for libsvmd while the heap calls it. */
void *own_alloc(size_t size);
void *own_realloc(void *p, size_t size);
void own_free(void *p);
bool own_has(const void *p);
size_t own_size(const void *p);
/* Over fork(). */
void own_hold(void);
void own_release(void);
