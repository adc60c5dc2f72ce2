#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segment;

/* Whether `size` more bytes are within --max. */
bool cut_is_within_max(size_t size);
/* `size` bytes for an extent, zeroed; at `at` if that is given. NULL: none are to be had. */
void *cut_extent(void *at, size_t size, size_t alignment);
/* The same for a mapping, which begins on a granule. */
void *cut_map(size_t size);
/* Gives pages of a mapping back; granules that have none left are empty again. */
void cut_unmap(struct segment *s, uintptr_t start, uintptr_t end);
/* Whole granules in [start, end) are zero afterwards, and devices that used them have ended. False: they are not. */
bool cut_discard(const struct segment *s, uintptr_t start, uintptr_t end);
