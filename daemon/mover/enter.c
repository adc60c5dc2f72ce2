#include <errno.h>
#include <sched.h>

#include "mover/budget.h"
#include "mover/internal.h"
#include "mover/own.h"
#include "mover/pools.h"
#include "mover/steps.h"
#include "mover/userfault.h"

/*
 * Steps in a session's address space. A client may have unmapped a part of the range, mapped something else there, or
 * changed its access, which splits it: what the kernel refuses as a whole is done page by page then, and where there is
 * no mapping there is nothing to do. Only a page that was to be filled has to go somewhere: it goes to the file.
 *
 * While mappings change, the kernel refuses until the event that tells of it has been read.
 */
enum { TRIES = 20 };

/* Never written, so it costs no memory. */
static char zeroes[HUGE_PAGE];

struct entry {
        struct mover *m;
        struct mover_session *s;
        struct mover_range *r;
        const char *from; /* of what is filled */
        uint64_t start;
        uint32_t page;
        unsigned flags, tries;
        bool split; /* some of it was there, or is not mapped */
};

/* Bytes that were done, or -errno, as userfault.h has it. */
typedef int64_t (*piece_fn)(struct entry *e, uint64_t at, uint64_t size);

static int64_t whole(int k, uint64_t size) {
        return k ? k : (int64_t)size;
}

static int64_t protect(struct entry *e, uint64_t at, uint64_t size) {
        return whole(userfault_protect(e->s->uffd, at, size), size);
}

static int64_t unprotect(struct entry *e, uint64_t at, uint64_t size) {
        return whole(userfault_unprotect(e->s->uffd, at, size, e->flags), size);
}

static int64_t go_on(struct entry *e, uint64_t at, uint64_t size) {
        return userfault_continue(e->s->uffd, at, size, e->flags);
}

static int64_t copy(struct entry *e, uint64_t at, uint64_t size) {
        return userfault_copy(e->s->uffd, at, e->from + (at - e->start), size, e->flags);
}

static int64_t zero(struct entry *e, uint64_t at, uint64_t size) {
        if (e->page == HUGE_PAGE || e->flags & USERFAULT_PROTECT)
                return userfault_copy(e->s->uffd, at, zeroes, size < sizeof(zeroes) ? size : sizeof(zeroes), e->flags);
        return userfault_zero(e->s->uffd, at, size, e->flags);
}

/* A protection that was left where there is no page is in the way. */
static int64_t poison(struct entry *e, uint64_t at, uint64_t size) {
        int64_t k = userfault_poison(e->s->uffd, at, size, e->flags);

        if (k != -EEXIST)
                return k;
        (void)userfault_unprotect(e->s->uffd, at, e->page, 0);
        return userfault_poison(e->s->uffd, at, size, e->flags);
}

static bool read_events(struct entry *e) {
        if (e->tries++ == TRIES)
                return false;
        mover_lock(e->m);
        session_read(e->m, e->s);
        mover_unlock(e->m);
        sched_yield();
        return true;
}

static bool fills(piece_fn fn) {
        return fn == copy || fn == zero;
}

/* One page that cannot be served where it is. */
static int skip(struct entry *e, piece_fn fn, uint64_t at, int k) {
        e->split = true;
        if (k == -EEXIST && fills(fn) && e->r->huge) {
                k = own_exists(e->r->fd, at - e->r->address, e->page);
                return k == -EEXIST ? 0 : k;
        }
        if (k == -ENOENT && fills(fn))
                return bytes_fill(e->r, at - e->r->address, e->page, fn == copy ? e->from + (at - e->start) : NULL);
        return 0;
}

static int walk(struct entry *e, piece_fn fn, uint64_t size) {
        uint64_t at = e->start, end = e->start + size, unit = size;

        while (at < end) {
                int64_t k = fn(e, at, unit < end - at ? unit : end - at);

                if (k > 0)
                        at += (uint64_t)k;
                else if (k == -ENOENT && unit > e->page)
                        unit = e->page;
                else if (k == -ENOENT || k == -EEXIST) {
                        k = skip(e, fn, at, (int)k);
                        if (k)
                                return (int)k;
                        at += e->page;
                } else if (k != -EAGAIN || !read_events(e))
                        return (int)k;
        }
        return 0;
}

static piece_fn piece_of(enum managed_step_type t) {
        switch ((int)t) {
        case MANAGED_WRITE_PROTECT: return protect;
        case MANAGED_UNPROTECT: return unprotect;
        case MANAGED_CONTINUE: return go_on;
        case MANAGED_ZERO: return zero;
        case MANAGED_POISON: return poison;
        default: return NULL;
        }
}

/* ENOSPC: of huge pages there are none left. */
static int outcome(const struct entry *e, enum managed_step_type t, int k) {
        if (t != MANAGED_COPY_IN && t != MANAGED_ZERO)
                return k;
        if (k == -ENOSPC)
                return -ENOMEM;
        return k == 0 && e->split ? -EEXIST : k;
}

static int serve(struct entry *e, const struct managed_step *step, uint64_t size) {
        struct pool *p = step->type == MANAGED_COPY_IN ? pool_get(e->m, step->node, step->bytes) : NULL;
        struct pool_view v;
        int k;

        if (step->type != MANAGED_COPY_IN)
                return walk(e, piece_of(step->type), size);
        k = p ? pool_open(p, step->slot, step->count, POOL_READ, &v) : -EIO;
        if (k)
                return k;
        e->from = v.bytes;
        return pool_close(&v, walk(e, copy, size));
}

/* And may be told that there is no room. */
static bool is_charged(const struct managed_step *step) {
        return (step->type == MANAGED_COPY_IN || step->type == MANAGED_ZERO) && !step->insist;
}

int step_enter(struct mover *m, const struct managed_step *step) {
        struct mover_range *r = step->range;
        struct entry e = {
                .m = m,
                .s = step->session,
                .r = r,
                .start = granule_address(r, step->granule),
                .page = r->huge ? HUGE_PAGE : PAGE,
                .flags = (step->wake || step->type == MANAGED_POISON ? USERFAULT_WAKE : 0) |
                         (step->protect ? USERFAULT_PROTECT : 0),
        };
        uint64_t size = (uint64_t)step->count * step->bytes;
        int k;

        if (step->type == MANAGED_WAKE)
                return userfault_wake(e.s->uffd, e.start, size);
        if (is_charged(step) && !budget_take(e.s, size))
                return -ENOMEM;
        k = serve(&e, step, size);
        if (is_charged(step))
                budget_give(e.s, size);
        /* What was served has been woken with it, and where that was all of it, all have. */
        if (e.flags & USERFAULT_WAKE && k != -ESRCH && (k || e.split || step->type == MANAGED_WRITE_PROTECT))
                (void)userfault_wake(e.s->uffd, e.start, size);
        return outcome(&e, step->type, k);
}
