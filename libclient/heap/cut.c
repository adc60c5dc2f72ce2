#include "cut.h"

#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "raw.h"
#include "stat.h"

/*
 * In a segment extents grow up from the start and mappings down from the end. What jemalloc gives back stays its own
 * (its addresses are used again, its granules are discarded), what the program unmaps is cut again.
 */
/* ---- extents ---- */

bool cut_is_within_max(size_t size) {
        return !heap.max ||
               (size <= heap.max && atomic_load(&stats.managed) + atomic_load(&stats.other) <= heap.max - size);
}

static void *cut(struct segment *s, void *at, size_t size, size_t alignment) {
        uintptr_t start = round_up(s->extents, alignment);

        if (s->snapshot || start > s->maps || size > s->maps - start || (at && (uintptr_t)at != start))
                return NULL;
        s->extents = start + size;
        return (void *)start;
}

/* The newest segment first. */
static void *cut_any(void *at, size_t size, size_t alignment) {
        void *p = NULL;

        for (size_t i = heap.count; i-- > 0 && !p;)
                p = cut(&heap.segment[i], at, size, alignment);
        return p;
}

void *cut_extent(void *at, size_t size, size_t alignment) {
        void *p = NULL;

        pthread_mutex_lock(&heap_lock);
        if (cut_is_within_max(size)) {
                p = cut_any(at, size, alignment);
                if (!p && !at)
                        segment_want(size + alignment);
                if (p)
                        stat_managed(size, true);
        }
        pthread_mutex_unlock(&heap_lock);
        return p;
}

/* ---- mappings ---- */

static uint16_t *pages_at(const struct segment *s, uintptr_t at) {
        return &s->pages[(at - s->start) / GRANULE];
}

static uint16_t mask_of(uintptr_t granule, uintptr_t start, uintptr_t end) {
        unsigned from = start > granule ? (unsigned)((start - granule) / PAGE) : 0;
        unsigned to = end < granule + GRANULE ? (unsigned)((end - granule) / PAGE) : 16;

        return (uint16_t)(((1u << to) - 1) & ~((1u << from) - 1));
}

static void take(struct segment *s, uintptr_t start, size_t size) {
        for (uintptr_t at = start; at < start + size; at += GRANULE)
                *pages_at(s, at) = mask_of(at, start, start + size);
        s->next = round_up(start + size, GRANULE);
}

/* The first run of free granules in [from, end), or 0. */
static uintptr_t find(const struct segment *s, uintptr_t from, size_t size) {
        uintptr_t run = from;

        for (uintptr_t at = from; at < s->end; at += GRANULE) {
                if (*pages_at(s, at))
                        run = at + GRANULE;
                else if (at + GRANULE - run >= size)
                        return run;
        }
        return 0;
}

static uintptr_t place(struct segment *s, size_t size) {
        size_t whole = round_up(size, GRANULE);
        uintptr_t at;

        if (s->snapshot)
                return 0;
        at = find(s, s->next, whole);
        if (!at)
                at = find(s, s->maps, whole);
        if (!at && s->maps - s->extents >= whole + GRANULE)
                at = s->maps -= whole;
        if (at)
                take(s, at, size);
        return at;
}

static uintptr_t place_any(size_t size, bool *ret_over, size_t *ret_seen) {
        uintptr_t at = 0;

        pthread_mutex_lock(&heap_lock);
        *ret_over = !cut_is_within_max(size);
        *ret_seen = heap.count;
        for (size_t i = heap.count; i-- > 0 && !at && !*ret_over;)
                at = place(&heap.segment[i], size);
        if (at)
                stat_managed(round_up(size, GRANULE), true);
        pthread_mutex_unlock(&heap_lock);
        return at;
}

void *cut_map(size_t size) {
        uintptr_t at;
        size_t seen;
        bool over;

        do
                at = place_any(size, &over, &seen);
        while (!at && !over && segment_grow(size + 2 * GRANULE, seen));
        return (void *)at;
}

/* Granules that became free are discarded before they may be given out again: until then they count as used. What
 * cannot be discarded stays so. */
static void give_back(struct segment *s, uintptr_t start, uintptr_t end) {
        bool ok;

        if (s->protected)
                raw_mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
        ok = cut_discard(s, start, end);
        stat_managed(end - start, false);
        pthread_mutex_lock(&heap_lock);
        if (ok)
                memset(pages_at(s, start), 0, (end - start) / GRANULE * sizeof(*s->pages));
        pthread_mutex_unlock(&heap_lock);
}

/* Pages of the granule that `at` lies in; true when it had some and has none left: then it is kept. */
static bool drop_pages(struct segment *s, uintptr_t at, uintptr_t start, uintptr_t end) {
        uint16_t *pages, had;
        bool free;

        pthread_mutex_lock(&heap_lock);
        pages = pages_at(s, at);
        had = *pages;
        *pages = (uint16_t)(had & ~mask_of(at, start, end));
        free = had && !*pages;
        if (free)
                *pages = UINT16_MAX;
        pthread_mutex_unlock(&heap_lock);
        return free;
}

void cut_unmap(struct segment *s, uintptr_t start, uintptr_t end) {
        uintptr_t at, run = 0;

        if (s->snapshot) {
                raw_mmap((void *)start, end - start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                         -1, 0);
                return;
        }
        for (at = start & ~(GRANULE - 1); at < end; at += GRANULE) {
                bool free = drop_pages(s, at, start, end);

                if (free && !run)
                        run = at;
                if (run && !free)
                        give_back(s, run, at);
                if (!free)
                        run = 0;
        }
        if (run)
                give_back(s, run, at);
}

bool cut_discard(const struct segment *s, uintptr_t start, uintptr_t end) {
        uintptr_t first = round_up(start, GRANULE), last = end & ~(GRANULE - 1);
        struct guard g;
        int r;

        if (s->snapshot || first >= last || !heap.session)
                return false;
        heap_enter(&g);
        r = svmd_discard(heap.session, NULL, (void *)first, last - first);
        heap_leave(&g);
        if (r)
                return false;
        atomic_fetch_add(&stats.discarded, last - first);
        return true;
}
