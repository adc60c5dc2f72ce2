#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "fds.h"
#include "heap.h"
#include "proto/range.h"
#include "raw.h"
#include "stat.h"

/*
 * Segments are managed ranges of the heap's session. The first is made before main(), others when it is full, each as
 * large as all before it together.
 *
 * In a child, what it has of its parent's segments (fork.c) lies in the same slice. libsvmd is told not to reserve the
 * slice over it, and a new segment must not lie there, though svmd may think the place free because the parent is gone:
 * so a child names the place.
 */
#define SMALLEST      ((size_t)16 << 20)
#define LARGEST_FIRST ((size_t)1 << 30)

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

struct segment *segment_of(const void *p) {
        size_t count = atomic_load_explicit(&heap.count, memory_order_acquire);

        if ((uintptr_t)p - heap.base >= heap.length)
                return NULL;
        for (size_t i = 0; i < count; i++)
                if ((uintptr_t)p - heap.segment[i].start < heap.segment[i].end - heap.segment[i].start)
                        return &heap.segment[i];
        return NULL;
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

static bool connect_heap(void) {
        struct svmd_connect_options opts = { .size = sizeof(opts), .descriptors_from = fds_from() };
        struct svmd_session_info info = { .size = sizeof(info) };
        bool again = heap.length;

        if (again)
                reserve_gaps();
        opts.flags = again ? SVMD_CONNECT_SLICE_KEPT : 0;
        if (svmd_connect(&heap.session, &opts) || svmd_session_info(heap.session, &info)) {
                heap_say("%s; what this process allocates from now on is not managed", svmd_error());
                heap.session = NULL;
                heap.failed = true;
                return false;
        }
        heap.base = info.base;
        heap.length = info.length;
        return true;
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
        const struct svmd_reserve_options opts = {
                .size = sizeof(opts), .kind = SVMD_SHARED, .granule = GRANULE, .flags = SVMD_RANGE_AHEAD
        };

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

/* A small part of the slice: there are other processes. */
static size_t first_size(void) {
        size_t size = SMALLEST;

        while (size < LARGEST_FIRST && size < heap.length / 256)
                size *= 2;
        return size;
}

/* As large as all others; where that does not fit, as large as what is asked for. */
static int make_fitting(size_t least) {
        size_t all = 0, size = first_size();
        int r;

        for (size_t i = 0; i < heap.count; i++)
                all += heap.segment[i].snapshot ? 0 : heap.segment[i].end - heap.segment[i].start;
        while (size < all || size < least)
                size *= 2;
        r = make(size);
        while (r == SVMD_E_NO_VA && size / 2 >= least) {
                size /= 2;
                r = make(size);
        }
        return r;
}

static bool grow(size_t need) {
        static bool told;
        struct guard g;
        bool ok = false;

        if (heap.failed || heap.count == SEGMENTS)
                return false;
        heap_enter(&g);
        if (heap.session || connect_heap()) {
                ok = make_fitting(round_up(need, 16 * GRANULE)) == 0;
                if (!ok && !told)
                        heap_say("%s; %s", svmd_error(),
                                 heap.on ? "malloc() finds no more memory" : "the heap of this program is not managed");
                told = !ok;
        }
        heap_leave(&g);
        return ok;
}

bool segment_grow(size_t size, size_t seen) {
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

void segment_want(size_t size) {
        wanted_at = heap.count;
        wanted = size;
}

bool segment_more(const void *caller) {
        size_t size = atomic_exchange(&wanted, 0);

        return size && !is_in_libsvmd(caller) && (segment_grow(size, wanted_at) || heap.failed);
}
