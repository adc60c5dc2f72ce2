#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "proto/range.h"

/*
 * Segments are managed ranges of the heap's session. The first is made before main(), others when it is full, each as
 * large as all before it together; extents grow up from its start and mappings down from its end. What jemalloc gives
 * back stays its own (its addresses are used again, its granules are discarded), what the program unmaps is cut again.
 *
 * In a child, what it has of its parent's segments (fork.c) lies in the same slice. libsvmd is told not to reserve the
 * slice over it, and a new segment must not lie there, though svmd may think the place free because the parent is gone:
 * so a child names the place.
 */
#define FIRST_SIZE ((size_t)1 << 30)

struct heap heap;
pthread_mutex_t heap_lock = PTHREAD_MUTEX_INITIALIZER, grow_lock = PTHREAD_MUTEX_INITIALIZER;
__thread int heap_inside;

/* What an extent could not be had for, and how many segments there were then. */
static atomic_size_t wanted, wanted_at;

void heap_enter(struct guard *g) {
        g->error = errno;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &g->cancel);
        heap_inside++;
}

void heap_leave(const struct guard *g) {
        heap_inside--;
        pthread_setcancelstate(g->cancel, NULL);
        errno = g->error;
}

static uintptr_t round_up(uintptr_t x, size_t to) {
        return (x + to - 1) & ~(to - 1);
}

struct segment *segment_of(const void *p) {
        size_t count = atomic_load_explicit(&heap.count, memory_order_acquire);

        if ((uintptr_t)p - heap.base >= heap.length)
                return NULL;
        for (size_t i = 0; i < count; i++)
                if ((uintptr_t)p - heap.segment[i].start < heap.segment[i].end - heap.segment[i].start)
                        return &heap.segment[i];
        return NULL;
}

/* ---- making one ---- */

static bool is_clear(uintptr_t start, size_t size) {
        for (size_t i = 0; i < heap.count; i++)
                if (start < heap.segment[i].end && heap.segment[i].start < start + size)
                        return false;
        return true;
}

/* Beside what this child has of its parent's; a place is taken when another process has it. */
static int reserve_beside(size_t size, void **ret, const struct svmd_reserve_options *opts) {
        int r = SVMD_E_NO_VA;

        for (uintptr_t at = heap.base + heap.length; at - heap.base >= size; at -= size) {
                if (!is_clear(at - size, size))
                        continue;
                r = svmd_address_reserve(heap.session, ret, size, 0, (void *)(at - size), opts);
                if (r != SVMD_E_TAKEN)
                        return r;
        }
        return r;
}

static bool has_snapshot(void) {
        for (size_t i = 0; i < heap.count; i++)
                if (heap.segment[i].snapshot)
                        return true;
        return false;
}

static int reserve(size_t size, void **ret) {
        const struct svmd_reserve_options opts = { .size = sizeof(opts), .kind = SVMD_SHARED, .granule = GRANULE };

        return has_snapshot() ? reserve_beside(size, ret, &opts)
                              : svmd_address_reserve(heap.session, ret, size, 0, NULL, &opts);
}

static svmd_node preferred = SVMD_NODE_NONE;

static int find_node(const struct svmd_node_row *row, void *userdata) {
        if (!strcmp(row->name, heap.preferred))
                preferred = row->id;
        return 0;
}

static void advise(void *at, size_t size) {
        struct svmd_advice advice = { .size = sizeof(advice), .what = SVMD_ADVISE_PREFERRED };

        if (!heap.preferred[0])
                return;
        if (preferred == SVMD_NODE_NONE)
                svmd_query_nodes(heap.session, find_node, NULL);
        advice.preferred = preferred;
        if (preferred != SVMD_NODE_NONE && svmd_advise(heap.session, at, size, &advice))
                heap_say("%s", svmd_error());
}

static int add(void *at, size_t size) {
        struct segment *s = &heap.segment[heap.count];
        size_t count = size / GRANULE;
        const void *states;
        size_t states_size;
        void *pages;
        int r;

        r = svmd_range_states(heap.session, at, &states, &states_size);
        if (r)
                return r;
        pages = raw_mmap(NULL, count * sizeof(*s->pages), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED)
                return SVMD_E_NO_MEMORY;
        pthread_mutex_lock(&heap_lock);
        *s = (struct segment){
                .start = (uintptr_t)at,
                .end = (uintptr_t)at + size,
                .extents = (uintptr_t)at,
                .maps = (uintptr_t)at + size,
                .next = (uintptr_t)at + size,
                .pages = pages,
                .states = (const struct range_entry *)((const char *)states + sizeof(struct range_head)),
        };
        atomic_store_explicit(&heap.count, heap.count + 1, memory_order_release);
        pthread_mutex_unlock(&heap_lock);
        advise(at, size);
        return 0;
}

static int make(size_t size) {
        void *at;
        int r = reserve(size, &at);

        return r ? r : add(at, size);
}

/* As large as all others; where that does not fit, as large as what is asked for. */
static bool grow(size_t need) {
        size_t all = 0, least = round_up(need, 16 * GRANULE), size = FIRST_SIZE;
        struct guard g;
        int r = SVMD_E_NO_VA;

        if (heap.failed || heap.count == SEGMENTS)
                return false;
        for (size_t i = 0; i < heap.count; i++)
                all += heap.segment[i].snapshot ? 0 : heap.segment[i].end - heap.segment[i].start;
        while (size < all || size < least)
                size *= 2;
        heap_enter(&g);
        if (heap.session || segment_connect())
                r = make(size);
        while (heap.session && r == SVMD_E_NO_VA && size / 2 >= least) {
                size /= 2;
                r = make(size);
        }
        if (r && !(heap.failed = !heap.session))
                heap_say("%s; memory that the program asks for now is not managed", svmd_error());
        heap_leave(&g);
        return !r;
}

/* ---- the session ---- */

/* What lies between the parts of the parent's heap, so that nothing else gets there. */
static void reserve_gaps(void) {
        uintptr_t at = heap.base, end = heap.base + heap.length;

        while (at < end) {
                const struct segment *next = NULL;
                uintptr_t to;

                for (size_t i = 0; i < heap.count; i++)
                        if (heap.segment[i].end > at && (!next || heap.segment[i].start < next->start))
                                next = &heap.segment[i];
                to = next ? next->start : end;
                if (to > at &&
                    raw_mmap((void *)at, to - at, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == (void *)at)
                        raw_madvise((void *)at, to - at, MADV_DONTFORK);
                at = next ? next->end : end;
        }
}

bool segment_connect(void) {
        struct svmd_connect_options opts = { .size = sizeof(opts), .descriptors_from = fds_from() };
        struct svmd_session_info info = { .size = sizeof(info) };
        bool again = heap.length;

        if (again)
                reserve_gaps();
        opts.flags = again ? SVMD_CONNECT_SLICE_KEPT : 0;
        if (svmd_connect(&heap.session, &opts) || svmd_session_info(heap.session, &info)) {
                heap_say("%s", svmd_error());
                heap.session = NULL;
                heap.failed = true;
                return false;
        }
        heap.base = info.base;
        heap.length = info.length;
        return true;
}

int segment_begin(void) {
        struct guard g;
        bool ok;

        pthread_mutex_lock(&grow_lock);
        heap_enter(&g);
        ok = segment_connect();
        heap_leave(&g);
        ok = ok && grow(1);
        pthread_mutex_unlock(&grow_lock);
        return ok ? 0 : -1;
}

/* Whether `size` more bytes have been made room for, by this thread or another one. */
static bool more(size_t size, uint64_t seen) {
        bool ok;

        pthread_mutex_lock(&grow_lock);
        ok = heap.count > seen || grow(size);
        pthread_mutex_unlock(&grow_lock);
        return ok;
}

static bool is_in_libsvmd(const void *caller) {
        Dl_info at, library;

        return dladdr(caller, &at) && dladdr((const void *)&svmd_connect, &library) &&
               at.dli_fbase == library.dli_fbase;
}

bool segment_more(const void *caller) {
        size_t size = atomic_exchange(&wanted, 0);

        return size && !is_in_libsvmd(caller) && (more(size, wanted_at) || heap.failed);
}

/* ---- extents ---- */

static bool is_within_max(size_t size) {
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

void *segment_extent(void *at, size_t size, size_t alignment) {
        void *p = NULL;

        pthread_mutex_lock(&heap_lock);
        if (is_within_max(size)) {
                p = cut_any(at, size, alignment);
                if (!p && !at) {
                        wanted_at = heap.count;
                        wanted = size + alignment;
                }
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
        *ret_over = !is_within_max(size);
        *ret_seen = heap.count;
        for (size_t i = heap.count; i-- > 0 && !at && !*ret_over;)
                at = place(&heap.segment[i], size);
        if (at)
                stat_managed(round_up(size, GRANULE), true);
        pthread_mutex_unlock(&heap_lock);
        return at;
}

void *segment_map(size_t size) {
        uintptr_t at;
        size_t seen;
        bool over;

        do
                at = place_any(size, &over, &seen);
        while (!at && !over && more(size + 2 * GRANULE, seen));
        return (void *)at;
}

/* Granules that became free are discarded before they may be given out again: until then they count as used. What
 * cannot be discarded stays so. */
static void give_back(struct segment *s, uintptr_t start, uintptr_t end) {
        bool ok;

        if (s->protected)
                raw_mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
        ok = segment_discard(s, start, end);
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

void segment_unmap(struct segment *s, uintptr_t start, uintptr_t end) {
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

bool segment_discard(const struct segment *s, uintptr_t start, uintptr_t end) {
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
        atomic_fetch_add(&stats.discards, 1);
        atomic_fetch_add(&stats.discarded, last - first);
        return true;
}
