#include "hooks.h"

#include <stdio.h>
#include <sys/mman.h>

#include "cut.h"
#include "heap.h"
#include "je.h"
#include "raw.h"
#include "stat.h"

/*
 * Where jemalloc's extents come from. It keeps the addresses that it was given (dalloc refuses), and what it has not
 * used for a while is discarded by svmd, which punches the range's file and a node's copy together and ends what
 * devices do there. Extents lie on pages and granules are larger, so the ends stay as they are, and jemalloc is told
 * that the content is not zero.
 *
 * Blocks of more than `oversize_threshold` are discarded when they are freed, smaller ones within dirty_decay_ms. What
 * the settings forbid would take memory past the hooks: retain and huge pages of jemalloc's own, threads of its own.
 */
__attribute__((visibility("hidden"))) const char *svmd_je_malloc_conf_2_conf_harder =
        "narenas:2,oversize_threshold:8388608,retain:false,thp:never,metadata_thp:disabled,background_thread:false,"
        "dirty_decay_ms:1000,muzzy_decay_ms:0,hpa:false,dss:disabled,abort_conf:false,percpu_arena:disabled";
#define OVERSIZE ((size_t)8388608)

/* Ordinary memory, for want of managed: counted, and limited likewise. */
static void *elsewhere(size_t size, size_t alignment) {
        size_t room = size + (alignment > PAGE ? alignment : 0);
        char *p, *at;

        if (!cut_is_within_max(size))
                return NULL;
        p = raw_mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return NULL;
        at = (char *)(((uintptr_t)p + alignment - 1) & ~(alignment - 1));
        if (alignment <= PAGE)
                at = p;
        if (at > p)
                raw_munmap(p, (size_t)(at - p));
        if (p + room > at + size)
                raw_munmap(at + size, (size_t)(p + room - at - size));
        stat_other(size);
        return at;
}

static void *hook_alloc(struct je_hooks *h, void *at, size_t size, size_t alignment, bool *zero, bool *commit,
                        unsigned arena) {
        void *p = cut_extent(at, size, alignment);

        if (!p && !at && heap.failed)
                p = elsewhere(size, alignment);
        if (p)
                *zero = *commit = true;
        return p;
}

static bool hook_dalloc(struct je_hooks *h, void *p, size_t size, bool committed, unsigned arena) {
        return true;
}

static void hook_destroy(struct je_hooks *h, void *p, size_t size, bool committed, unsigned arena) {
}

static bool hook_commit(struct je_hooks *h, void *p, size_t size, size_t offset, size_t length, unsigned arena) {
        return false;
}

static bool hook_decommit(struct je_hooks *h, void *p, size_t size, size_t offset, size_t length, unsigned arena) {
        return true;
}

static bool hook_purge_lazy(struct je_hooks *h, void *p, size_t size, size_t offset, size_t length, unsigned arena) {
        return true;
}

static bool hook_purge_forced(struct je_hooks *h, void *p, size_t size, size_t offset, size_t length, unsigned arena) {
        uintptr_t start = (uintptr_t)p + offset, end = start + length;
        const struct segment *s = segment_of((void *)start);

        if (!s)
                return raw_madvise((void *)start, length, MADV_DONTNEED) < 0;
        return !cut_discard(s, start, end) || start % GRANULE || end % GRANULE;
}

static bool hook_split(struct je_hooks *h, void *p, size_t size, size_t a, size_t b, bool committed, unsigned arena) {
        return false;
}

/* A request to svmd is about one range. */
static bool hook_merge(struct je_hooks *h, void *a, size_t size_a, void *b, size_t size_b, bool committed,
                       unsigned arena) {
        return segment_of(a) != segment_of(b);
}

static struct je_hooks hooks = {
        .alloc = hook_alloc,
        .dalloc = hook_dalloc,
        .destroy = hook_destroy,
        .commit = hook_commit,
        .decommit = hook_decommit,
        .purge_lazy = hook_purge_lazy,
        .purge_forced = hook_purge_forced,
        .split = hook_split,
        .merge = hook_merge,
};

static bool install(unsigned arena) {
        struct je_hooks *new = &hooks, *old;
        size_t size = sizeof(old);
        char name[64];

        snprintf(name, sizeof(name), "arena.%u.purge", arena);
        svmd_je_mallctl(name, NULL, NULL, NULL, 0); /* what ld.so used goes back to where it came from */
        snprintf(name, sizeof(name), "arena.%u.extent_hooks", arena);
        return svmd_je_mallctl(name, &old, &size, &new, sizeof(new)) == 0;
}

bool hooks_install(void) {
        unsigned count;
        size_t size = sizeof(count);

        svmd_je_free(svmd_je_malloc(OVERSIZE)); /* makes the arena of large blocks */
        svmd_je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
        if (svmd_je_mallctl("arenas.narenas", &count, &size, NULL, 0))
                return false;
        for (unsigned i = 0; i < count; i++)
                if (!install(i))
                        return false;
        return true;
}
