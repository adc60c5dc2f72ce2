#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "segment.h"
#include "svmd.h"

/*
 * What the files of libsvmd-heap.so share. The object is preloaded by svmd-run: it gives the program malloc() and a
 * part of mmap() out of managed ranges.
 *
 *      alloc.c    malloc() and the like: to jemalloc, or to own.c within calls of libsvmd
 *      own.c      memory for libsvmd, which must not live in what it manages
 *      segment.c  managed ranges: made when they are needed
 *      cut.c      and cut up
 *      hooks.c    jemalloc's extents come from segments
 *      maps.c     so do large anonymous mappings
 *      fork.c     a child has its parent's heap as it was
 *      access.c   with the access that it had
 *      still.c    other threads stand still meanwhile
 *      fds.c      the session's descriptors are none of the program's
 *      stat.c     what became of it
 *      start.c    before main()
 *
 * Locks: `grow_lock` is held while a segment is made, over calls of libsvmd, and never within jemalloc. `heap_lock`
 * guards what is cut from segments, for moments, within jemalloc too.
 */

#define GRANULE ((size_t)65536)

enum { PAGE = 4096, SEGMENTS = 512 };

/* `to`: a power of two. */
static inline uintptr_t round_up(uintptr_t x, size_t to) {
        return (x + to - 1) & ~(to - 1);
}

struct heap {
        svmd_session *session; /* NULL: there is none (yet, in a child) */
        atomic_bool on;        /* the program's memory is to be managed */
        bool failed;           /* no more memory of svmd is to be had */
        uint64_t max, base, length;
        char preferred[64];
        atomic_size_t count;
        struct segment segment[SEGMENTS];
};

extern struct heap heap;
extern pthread_mutex_t heap_lock, grow_lock;
/* This thread is in a call of libsvmd that the heap made. */
extern __thread int heap_inside __attribute__((tls_model("initial-exec")));

/* Around every call of libsvmd: its memory is its own, errno and cancellation are as before. */
struct guard {
        int error, cancel;
};
void heap_enter(struct guard *g);
void heap_leave(const struct guard *g);
