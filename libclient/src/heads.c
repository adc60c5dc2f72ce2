#include "heads.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "proto/range.h"
#include "session.h"

/*
 * Programs ask here before every use of what they derived from a range, so asking takes no lock and writes nothing:
 * a binary search in an array of ranges, and two loads. Those who change the array (with the session's `lock` held)
 * make `version` odd meanwhile; who read it under an odd or another version reads it again.
 *
 * A reader may use an array, or the page of a head, that has just been replaced. So both stay mapped until the session
 * ends: arrays double, and old ones are kept; pages of heads that are gone show zeroes, and are used for the next.
 *
 * The number of a range is its `local` count plus svmd's sequence; both only grow. When a range goes, the next ones
 * begin above every number that was given out for it, so an address never has the same number for two ranges. 0 is no
 * number.
 */
struct entry {
        _Atomic uint64_t start, end, local;
        _Atomic(struct range_head *) head;
};

struct heads_table {
        struct heads_table *older;
        _Atomic uint32_t count;
        uint32_t room;
        struct entry entry[];
};

struct heads_page {
        struct heads_page *next;
        void *page;
};

enum { ROOM_FIRST = 16 };

/* ---- looking, in any thread ---- */

/* What was loaded before stays before what is loaded after. (A fence of C11 is more than ThreadSanitizer takes.) */
static inline void loads_in_order(void) {
#if defined(__x86_64__)
        __asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
        __asm__ volatile("dmb ishld" ::: "memory");
#else
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

static uint64_t sequence_of(const struct range_head *h) {
        return __atomic_load_n(&h->sequence, __ATOMIC_ACQUIRE);
}

static uint64_t load(const _Atomic uint64_t *p) {
        return atomic_load_explicit(p, memory_order_acquire);
}

/* The first entry that ends above the address, if there is one. */
static uint32_t find(const struct heads_table *t, uint32_t count, uint64_t address) {
        uint32_t low = 0, high = count;

        while (low < high) {
                uint32_t middle = low + (high - low) / 2;

                if (load(&t->entry[middle].end) <= address)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static uint64_t number_in(const struct heads_table *t, uint64_t address) {
        uint32_t count = t ? atomic_load_explicit(&t->count, memory_order_acquire) : 0;
        uint32_t i = find(t, count, address);
        const struct range_head *head;

        if (i == count || load(&t->entry[i].start) > address)
                return UINT64_MAX;
        head = atomic_load_explicit(&t->entry[i].head, memory_order_acquire);
        return load(&t->entry[i].local) + sequence_of(head);
}

uint64_t svmd_range_begin(svmd_session *s, const void *address) {
        if (!s || atomic_load_explicit(&s->forked, memory_order_relaxed))
                return UINT64_MAX;
        for (;;) {
                uint32_t version = atomic_load_explicit(&s->heads.version, memory_order_acquire);
                uint64_t number;

                if (version & 1) {
                        sched_yield();
                        continue;
                }
                number = number_in(atomic_load_explicit(&s->heads.table, memory_order_acquire), (uintptr_t)address);
                if (atomic_load_explicit(&s->heads.version, memory_order_relaxed) == version)
                        return number;
        }
}

int svmd_range_retry(svmd_session *s, const void *address, uint64_t begun) {
        uint64_t now;

        loads_in_order();
        now = svmd_range_begin(s, address);
        return now == UINT64_MAX || now != begun;
}

/* ---- changing, with the session's lock held ---- */

static void open_table(struct heads *h) {
        atomic_fetch_add_explicit(&h->version, 1, memory_order_acq_rel);
}

static void close_table(struct heads *h) {
        atomic_fetch_add_explicit(&h->version, 1, memory_order_release);
}

static void store(_Atomic uint64_t *p, uint64_t value) {
        atomic_store_explicit(p, value, memory_order_release);
}

static void copy(struct entry *to, const struct entry *from) {
        store(&to->start, load(&from->start));
        store(&to->end, load(&from->end));
        store(&to->local, load(&from->local));
        atomic_store_explicit(&to->head, atomic_load_explicit(&from->head, memory_order_acquire), memory_order_release);
}

static int make_room(struct heads *h) {
        struct heads_table *old = h->table, *t;
        uint32_t count = old ? old->count : 0, room = old ? 2 * old->room : ROOM_FIRST;

        if (old && count < old->room)
                return 0;
        t = calloc(1, sizeof(*t) + room * sizeof(t->entry[0]));
        if (!t)
                return fail_memory();
        t->older = old;
        t->room = room;
        for (uint32_t i = 0; i < count; i++)
                copy(&t->entry[i], &old->entry[i]);
        t->count = count;
        atomic_store_explicit(&h->table, t, memory_order_release);
        return 0;
}

static struct heads_page *take_page(struct heads *h) {
        struct heads_page *p = h->spare;

        if (p)
                h->spare = p->next;
        else
                p = calloc(1, sizeof(*p));
        return p;
}

static void spare_page(struct heads *h, struct heads_page *p) {
        p->next = h->spare;
        h->spare = p;
}

/* Children have no session to ask for; one that inherits the page nevertheless is not harmed. */
static void *map_page(void *at, int prot, int flags, int fd) {
        long p = syscall(SYS_mmap, at, SVMD_PAGE, prot, flags | (at ? MAP_FIXED : 0), fd, 0);

        if (p == -1)
                return NULL;
        madvise((void *)p, SVMD_PAGE, MADV_DONTFORK);
        return (void *)p;
}

static int map_head(struct heads *h, int state, struct range_head **ret) {
        struct heads_page *p = take_page(h);
        void *page;

        if (!p)
                return fail_memory();
        page = map_page(p->page, PROT_READ, MAP_SHARED, state);
        if (!page) {
                spare_page(h, p);
                return fail_errno(errno, "the state of a managed range could not be mapped");
        }
        p->page = page;
        p->next = h->pages;
        h->pages = p;
        *ret = page;
        return 0;
}

static void insert(struct heads *h, uint64_t start, uint64_t end, struct range_head *head) {
        struct heads_table *t = h->table;
        uint32_t count = t->count, i = find(t, count, start);

        open_table(h);
        for (uint32_t k = count; k > i; k--)
                copy(&t->entry[k], &t->entry[k - 1]);
        store(&t->entry[i].start, start);
        store(&t->entry[i].end, end);
        store(&t->entry[i].local, h->past + 1);
        atomic_store_explicit(&t->entry[i].head, head, memory_order_release);
        atomic_store_explicit(&t->count, count + 1, memory_order_release);
        close_table(h);
}

int heads_add(svmd_session *s, uint64_t start, uint64_t end, int state) {
        struct heads *h = &s->heads;
        struct range_head *head;
        int r;

        pthread_mutex_lock(&s->lock);
        r = make_room(h);
        if (!r)
                r = map_head(h, state, &head);
        if (!r)
                insert(h, start, end, head);
        pthread_mutex_unlock(&s->lock);
        return r;
}

/* The entry that starts there, or NULL. */
static struct entry *entry_of(const struct heads *h, uint64_t start) {
        struct heads_table *t = h->table;
        uint32_t i = t ? find(t, t->count, start) : 0;

        return t && i < t->count && t->entry[i].start == start ? &t->entry[i] : NULL;
}

void heads_touch(svmd_session *s, uint64_t start) {
        struct entry *e;

        pthread_mutex_lock(&s->lock);
        e = entry_of(&s->heads, start);
        if (e)
                atomic_fetch_add(&e->local, 1);
        pthread_mutex_unlock(&s->lock);
}

/* Late readers may still look at the page. If the kernel does not give a page of zeroes, the file's stays until the
 * next range takes its place. */
static void forget_head(struct heads *h, const struct range_head *head) {
        struct heads_page **at = &h->pages, *p;

        while ((*at)->page != head)
                at = &(*at)->next;
        p = *at;
        *at = p->next;
        (void)map_page(p->page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        spare_page(h, p);
}

static void take_out(struct heads *h, struct entry *e) {
        struct heads_table *t = h->table;
        struct range_head *head = e->head;
        uint64_t local = e->local, last;

        open_table(h);
        for (struct entry *end = &t->entry[t->count - 1]; e < end; e++)
                copy(e, e + 1);
        atomic_store_explicit(&t->count, t->count - 1, memory_order_release);
        close_table(h);
        /* From now on nobody is given a number of it. */
        last = local + sequence_of(head);
        if (h->past < last)
                h->past = last;
        forget_head(h, head);
}

void heads_remove(svmd_session *s, uint64_t start) {
        struct entry *e;

        pthread_mutex_lock(&s->lock);
        e = entry_of(&s->heads, start);
        if (e)
                take_out(&s->heads, e);
        pthread_mutex_unlock(&s->lock);
}

static void free_pages(struct heads_page *p, bool mapped) {
        while (p) {
                struct heads_page *next = p->next;

                if (mapped && p->page)
                        syscall(SYS_munmap, p->page, SVMD_PAGE);
                free(p);
                p = next;
        }
}

void heads_free(svmd_session *s) {
        struct heads *h = &s->heads;
        struct heads_table *t = h->table;

        free_pages(h->pages, !s->forked);
        free_pages(h->spare, !s->forked);
        while (t) {
                struct heads_table *older = t->older;

                free(t);
                t = older;
        }
}
