#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "svmd.h"

struct range_entry;

/*
 * What the files of libsvmd-heap.so share. The object is preloaded by svmd-run: it gives the program malloc() and a
 * part of mmap() out of managed ranges.
 *
 *      alloc.c    malloc() and the like: to jemalloc, or to own.c within calls of libsvmd
 *      own.c      memory for libsvmd, which must not live in what it manages
 *      segment.c  managed ranges: made when they are needed, and cut up
 *      hooks.c    jemalloc's extents come from segments
 *      maps.c     so do large anonymous mappings
 *      fork.c     a child has its parent's heap as it was
 *      still.c    other threads stand still meanwhile
 *      fds.c      the session's descriptors are none of the program's
 *      stat.c     what became of it
 *      start.c    before main()
 *
 * Locks: `grow_lock` is held while a segment is made, over calls of libsvmd, and never within jemalloc. `heap_lock`
 * guards what is cut from segments, for moments, within jemalloc too.
 */

#define GRANULE ((size_t)65536)

enum { PAGE = 4096, SEGMENTS = 64 };

/* A managed range, or in a child what it had of its parent's. Extents are cut from below, mappings from above; `pages`
 * has for each granule of mappings a bit a page that is in use. */
struct segment {
        uintptr_t start, end;
        uintptr_t extents; /* up to here */
        uintptr_t maps;    /* from here */
        uintptr_t next;    /* where the search for a mapping's place goes on */
        bool snapshot;     /* private memory of a child: nothing is cut from it any more */
        bool protected;    /* the program changed the access to parts */
        uint16_t *pages;
        const struct range_entry *states; /* what svmd says of each granule; NULL of a snapshot */
};

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

/* own.c */
void *own_alloc(size_t size);
void *own_realloc(void *p, size_t size);
void own_free(void *p);
bool own_has(const void *p);
size_t own_size(const void *p);
void own_hold(void);
void own_release(void);

/* segment.c */
/* The segment that has the address, or NULL. Without a lock: segments stay. */
struct segment *segment_of(const void *p);
/* `size` bytes for an extent, zeroed; at `at` if that is given. NULL: none are to be had. */
void *segment_extent(void *at, size_t size, size_t alignment);
/* The same for a mapping, which begins on a granule. */
void *segment_map(size_t size);
/* Gives pages of a mapping back; granules that have none left are empty again. */
void segment_unmap(struct segment *s, uintptr_t start, uintptr_t end);
/* Whole granules in [start, end) are zero afterwards, and devices that used them have ended. False: they are not. */
bool segment_discard(const struct segment *s, uintptr_t start, uintptr_t end);
/* The first one, before main(). 0, or what libsvmd said. */
int segment_begin(void);
bool segment_connect(void);
/* After an extent was not to be had: whether to try again. `caller`: of malloc(). */
bool segment_more(const void *caller);

/* hooks.c, maps.c */
/* False: jemalloc does not take them. */
bool hooks_install(void);
void *raw_mmap(void *at, size_t size, int prot, int flags, int fd, long offset);
int raw_munmap(void *at, size_t size);
int raw_madvise(void *at, size_t size, int what);
int raw_mprotect(void *at, size_t size, int prot);

/* still.c */
void still_begin(void);
void still_end(void);

/* fds.c */
enum { FD_ROOM = 64 };
/* The first number of those that belong to the session. */
int fds_from(void);

/* stat.c */
struct stat_counts {
        atomic_size_t managed, managed_peak; /* bytes cut from segments and not given back */
        atomic_size_t other, other_peak;     /* bytes that had to come from elsewhere */
        atomic_size_t early;                 /* allocated before the heap was managed */
        atomic_size_t discards, discarded, snapshots, snapshot_bytes;
};
extern struct stat_counts stats;
void stat_managed(size_t bytes, bool more);
void stat_other(size_t bytes);
void stat_init(void);
/* One sentence for the person who runs the program. */
void heap_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
