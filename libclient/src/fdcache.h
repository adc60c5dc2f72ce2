#pragma once

#include <stdint.h>

#include "session.h"

/* The files behind memory, to mmap. A few are kept, the least recently used go. With `va_lock` held. */
struct file {
        uint64_t memory;
        unsigned access;
        int fd;
        uint64_t offset; /* of the memory's first byte */
        uint64_t used;
};

/* The file of memory with an access, or NULL: it must be fetched. */
const struct file *fdcache_find(svmd_session *s, uint64_t memory, unsigned access);
enum { FDCACHE_FETCH_MAX = 32 };
/* Fetches up to FDCACHE_FETCH_MAX files in one request, all of which can then be found. When some are refused the
 * others are there, and the first refusal is the code. */
int fdcache_fetch(svmd_session *s, const struct file *wanted, unsigned count);
/* Its handle was released. */
void fdcache_drop(svmd_session *s, uint64_t memory);
void fdcache_free(svmd_session *s);
