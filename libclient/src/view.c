#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "fdcache.h"
#include "va.h"

/*
 * What the CPU sees, twice: the views in the session's tree are what the daemon agreed to, the mappings of the kernel
 * follow. Before a change that takes memory away is sent, the range is blank (no access) in the kernel; when the reply
 * is in, the tree is changed, and what is left in the range, or new, is dirty and gets shown again. So the process
 * never sees memory that the daemon believes to be free, and a refusal brings back what was there.
 */

/* ---- the tree ---- */

int views_spare(svmd_session *s, unsigned count) {
        while (s->spare_count < count) {
                struct view *v = calloc(1, sizeof(*v));

                if (!v)
                        return fail_memory();
                pthread_mutex_lock(&s->lock);
                v->next = s->spare_views;
                s->spare_views = v;
                s->spare_count++;
                pthread_mutex_unlock(&s->lock);
        }
        return 0;
}

/* The functions with an underscore run with `lock` held. */
static struct view *_take(svmd_session *s) {
        struct view *v = s->spare_views;

        s->spare_views = v->next;
        s->spare_count--;
        return v;
}

static void _insert(svmd_session *s, struct ranges *t, const struct view *what, uint64_t start, uint64_t end) {
        struct view *v = _take(s);

        *v = *what;
        v->offset += start - what->range.start;
        v->range.start = start;
        v->range.end = end;
        ranges_insert(t, &v->range);
}

/* Makes `at` the border of two views, if it lies within one. */
static void _split(svmd_session *s, struct ranges *t, uint64_t at) {
        struct range *r = ranges_find(t, at, at + 1);
        uint64_t end;

        if (!r || r->start == at)
                return;
        end = r->end;
        r->end = at;
        _insert(s, t, view_of(r), at, end);
}

void views_cut(svmd_session *s, struct ranges *t, uint64_t start, uint64_t end) {
        struct range *r;

        pthread_mutex_lock(&s->lock);
        r = ranges_find(t, start, end);
        if (r && r->start < start && r->end > end)
                _split(s, t, end);
        if (r && r->start < start)
                r->end = start;
        while ((r = ranges_find(t, start, end)) && r->end <= end) {
                ranges_remove(t, r);
                free(r);
        }
        if (r) {
                view_of(r)->offset += end - r->start;
                r->start = end;
        }
        pthread_mutex_unlock(&s->lock);
}

void views_add(svmd_session *s, struct ranges *t, uint64_t start, uint64_t end, uint64_t memory, uint64_t offset,
               unsigned access) {
        const struct view v = {
                .range = { .start = start, .end = end },
                .memory = memory,
                .offset = offset,
                .access = access,
                .dirty = true,
        };

        pthread_mutex_lock(&s->lock);
        _insert(s, t, &v, start, end);
        pthread_mutex_unlock(&s->lock);
}

void views_access(svmd_session *s, uint64_t start, uint64_t end, unsigned access) {
        struct range *r;

        pthread_mutex_lock(&s->lock);
        _split(s, &s->views, start);
        _split(s, &s->views, end);
        for (uint64_t at = start; (r = ranges_find(&s->views, at, end)); at = r->end) {
                view_of(r)->access = access;
                view_of(r)->dirty = true;
        }
        pthread_mutex_unlock(&s->lock);
}

void views_dirty(svmd_session *s, uint64_t start, uint64_t end) {
        struct range *r;

        pthread_mutex_lock(&s->lock);
        for (uint64_t at = start; (r = ranges_find(&s->views, at, end)); at = r->end)
                view_of(r)->dirty = true;
        pthread_mutex_unlock(&s->lock);
}

/* ---- the kernel ---- */

static int protection(unsigned access) {
        return access == SVMD_ACCESS_NONE ? PROT_NONE : access == SVMD_ACCESS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* One step for fork(): the child must not see the mapping before it is marked as not to be inherited. */
static int _map(uint64_t start, uint64_t end, int prot, int fd, uint64_t offset) {
        int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;

        if (syscall(SYS_mmap, start, end - start, prot, flags | MAP_FIXED, fd, fd < 0 ? 0 : offset) == -1)
                return -errno;
        if (madvise((void *)(uintptr_t)start, end - start, MADV_DONTFORK) < 0)
                return -errno;
        /* As the slice around it, with which it becomes one mapping again. */
        if (prot == PROT_NONE && fd < 0 && madvise((void *)(uintptr_t)start, end - start, MADV_DONTDUMP) < 0)
                return -errno;
        return 0;
}

static bool _is_shadowed(const svmd_session *s, uint64_t address) {
        const struct reservation *r = reservation_of(ranges_find(&s->reservations, address, address + 1));

        return r && r->shadowed;
}

static int paint(svmd_session *s, uint64_t start, uint64_t end, int prot, int fd, uint64_t offset) {
        int r = 0;

        pthread_mutex_lock(&s->lock);
        if (!_is_shadowed(s, start))
                r = _map(start, end, prot, fd, offset);
        pthread_mutex_unlock(&s->lock);
        return r;
}

static int fail_map(int error) {
        if (error == ENOMEM)
                return fail(SVMD_E_SYSTEM, "the kernel refused another mapping in this process; it has too many "
                                           "(sysctl vm.max_map_count) or too much address space (ulimit -v)");
        return fail_errno(error, "memory could not be mapped in this process");
}

static uint64_t larger(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* Only what this session had shown: the range may be any that a program asked for, right or wrong. */
int va_blank(svmd_session *s, uint64_t start, uint64_t end) {
        const struct range *r;

        for (uint64_t at = start; (r = ranges_find(&s->views, at, end)); at = r->end) {
                int error = paint(s, larger(r->start, start), smaller(r->end, end), PROT_NONE, -1, 0);

                if (error < 0)
                        return fail_map(-error);
        }
        return 0;
}

/* What is between views. */
static int paint_gaps(svmd_session *s, uint64_t start, uint64_t end, int prot) {
        int error = 0;

        for (uint64_t at = start; at < end && !error;) {
                const struct range *v = ranges_find(&s->views, at, end);
                uint64_t gap_end = v ? larger(v->start, at) : end;

                if (at < gap_end)
                        error = paint(s, at, gap_end, prot, -1, 0);
                at = v ? v->end : end;
        }
        return error < 0 ? fail_map(-error) : 0;
}

static int paint_sparse(svmd_session *s, uint64_t start, uint64_t end, int prot) {
        const struct range *r;
        int error = 0;

        for (uint64_t at = start; !error && (r = ranges_find(&s->sparse, at, end)); at = r->end)
                error = paint_gaps(s, larger(r->start, start), smaller(r->end, end), prot);
        return error;
}

int va_blank_sparse(svmd_session *s, uint64_t start, uint64_t end) {
        return paint_sparse(s, start, end, PROT_NONE);
}

int va_show_sparse(svmd_session *s, uint64_t start, uint64_t end) {
        return paint_sparse(s, start, end, PROT_READ);
}

int va_reset(svmd_session *s, uint64_t start, uint64_t end) {
        int r = paint(s, start, end, PROT_NONE, -1, 0);

        return r < 0 ? fail_map(-r) : 0;
}

/* The files of the next dirty views, in one request. */
static int fetch_files(svmd_session *s, uint64_t start, uint64_t end) {
        struct file wanted[FDCACHE_FETCH_MAX];
        unsigned count = 0;
        const struct range *r;

        for (uint64_t at = start; count < FDCACHE_FETCH_MAX && (r = ranges_find(&s->views, at, end)); at = r->end) {
                const struct view *v = (const struct view *)r;
                unsigned i = 0;

                if (!v->dirty || !v->access || fdcache_find(s, v->memory, v->access))
                        continue;
                while (i < count && (wanted[i].memory != v->memory || wanted[i].access != v->access))
                        i++;
                if (i == count)
                        wanted[count++] = (struct file){ .memory = v->memory, .access = v->access };
        }
        return fdcache_fetch(s, wanted, count);
}

static int show(svmd_session *s, const struct view *v, uint64_t end) {
        const struct file *f = NULL;
        int fetched = 0, r;

        if (v->access) {
                f = fdcache_find(s, v->memory, v->access);
                if (!f)
                        fetched = fetch_files(s, v->range.start, end);
                if (!f)
                        f = fdcache_find(s, v->memory, v->access);
                if (!f)
                        return fetched;
        }
        r = paint(s, v->range.start, v->range.end, protection(v->access), f ? f->fd : -1,
                  f ? f->offset + v->offset : 0);
        return r < 0 ? fail_map(-r) : 0;
}

static void clean(svmd_session *s, struct view *v) {
        pthread_mutex_lock(&s->lock);
        v->dirty = false;
        pthread_mutex_unlock(&s->lock);
}

static void forget(svmd_session *s, struct view *v) {
        pthread_mutex_lock(&s->lock);
        ranges_remove(&s->views, &v->range);
        pthread_mutex_unlock(&s->lock);
        free(v);
}

int va_show(svmd_session *s, uint64_t start, uint64_t end, uint64_t *ret_start, uint64_t *ret_end) {
        struct range *r;

        for (uint64_t at = start; (r = ranges_find(&s->views, at, end)); at = r->end) {
                struct view *v = view_of(r);
                int error = v->dirty ? show(s, v, end) : 0;

                if (error) {
                        *ret_start = r->start;
                        *ret_end = r->end;
                        forget(s, v);
                        return error;
                }
                if (v->dirty)
                        clean(s, v);
        }
        return 0;
}
