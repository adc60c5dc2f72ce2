#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cuda.h"
#include "error.h"
#include "event.h"
#include "process.h"
#include "va.h"

/*
 * The slice of a partition is reserved once a process: sessions of the same partition share it, the last one unmaps it.
 * An address is one thing to the whole process, so when several of them have the same reservation, one shows it (the
 * first with the widest access) and the others are in its shadow; when it lets go, one of those takes over what is
 * mapped as it is, and brings it up to date with its next call.
 *
 * mmap() and munmap() of libc are not used: a sanitizer's would abort on addresses that it does not expect.
 */
struct slice {
        struct slice *next;
        uint64_t base, length;
        char partition[64], domain[64];
        svmd_session *sessions;
};

static struct slice *slices;

/* ---- collisions ---- */

struct obstacle {
        uint64_t start, end;
        char name[128];
};

static bool find_obstacle(uint64_t start, uint64_t end, struct obstacle *ret) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        bool found = false;

        while (maps && !found && fgets(line, sizeof(line), maps)) {
                int name = 0;

                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %n", &ret->start, &ret->end, &name) < 2)
                        continue;
                found = ret->start < end && ret->end > start;
                line[strcspn(line, "\n")] = 0;
                snprintf(ret->name, sizeof(ret->name), "%s",
                         name && line[name] ? line + name
                                            : "anonymous memory (a heap, a thread's stack, or a sanitizer)");
        }
        if (maps)
                fclose(maps);
        return found;
}

static int fail_collision(const struct svmd_session_info *info) {
        uint64_t end = info->base + info->length;
        struct obstacle o;

        if (!find_obstacle(info->base, end, &o))
                return fail(SVMD_E_COLLISION,
                            "the kernel did not give this process the addresses %#" PRIx64 "-%#" PRIx64
                            " of partition %s; use a partition elsewhere: svmd-ctl partition create NAME --window %s",
                            info->base, end, info->partition, info->window == SVMD_WINDOW_LOW ? "primary" : "low");
        return fail(SVMD_E_COLLISION,
                    "partition %s has the addresses %#" PRIx64 "-%#" PRIx64 ", but this process uses %#" PRIx64
                    "-%#" PRIx64
                    " already for %s; use a partition elsewhere: svmd-ctl partition create NAME --window %s",
                    info->partition, info->base, end, o.start, o.end, o.name,
                    info->window == SVMD_WINDOW_LOW ? "primary" : "low");
}

static int fail_reserve(const struct svmd_session_info *info, int error) {
        struct rlimit limit;

        if (error == EEXIST)
                return fail_collision(info);
        if (error == ENOMEM && getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
                return fail(SVMD_E_SYSTEM,
                            "the %" PRIu64 " GiB of addresses of partition %s do not fit into this process's limit of "
                            "%" PRIu64 " KiB; raise it: ulimit -v unlimited",
                            info->length >> 30, info->partition, (uint64_t)limit.rlim_cur >> 10);
        return fail_errno(error, "the addresses of partition %s could not be reserved", info->partition);
}

static int reserve(const struct svmd_session_info *info) {
        long p = syscall(SYS_mmap, info->base, info->length, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

        if (p == -1)
                return fail_reserve(info, errno);
        if ((uint64_t)p != info->base) {
                syscall(SYS_munmap, p, info->length);
                return fail_collision(info);
        }
        /* A debugger that writes a core would read all of it: there is nothing. */
        if (madvise((void *)p, info->length, MADV_DONTFORK) < 0 ||
            madvise((void *)p, info->length, MADV_DONTDUMP) < 0) {
                int error = errno;

                syscall(SYS_munmap, p, info->length);
                return fail_errno(error, "the addresses of partition %s could not be kept from children and cores",
                                  info->partition);
        }
        return 0;
}

/* ---- sharing ---- */

static void join(svmd_session *s, struct slice *l) {
        s->slice = l;
        s->slice_next = l->sessions;
        s->slice_link = &l->sessions;
        if (s->slice_next)
                s->slice_next->slice_link = &s->slice_next;
        l->sessions = s;
}

static bool is_same(const struct slice *l, const struct svmd_session_info *info) {
        return l->base == info->base && l->length == info->length && !strcmp(l->partition, info->partition);
}

static int slice_new(svmd_session *s, bool kept) {
        struct slice *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return fail_memory();
        r = kept ? 0 : reserve(&s->info);
        if (r) {
                free(l);
                return r;
        }
        l->base = s->info.base;
        l->length = s->info.length;
        memcpy(l->partition, s->info.partition, sizeof(l->partition));
        memcpy(l->domain, s->info.domain, sizeof(l->domain));
        l->next = slices;
        slices = l;
        join(s, l);
        return 0;
}

int slice_get(svmd_session *s, bool kept) {
        int r = 0;

        process_lock();
        for (struct slice *l = slices; l && !s->slice; l = l->next) {
                if (strcmp(l->domain, s->info.domain) != 0)
                        r = fail(SVMD_E_INVALID,
                                 "partition %s is of domain %s, but this process is attached to one of domain %s; a "
                                 "process may use one domain only",
                                 s->info.partition, s->info.domain, l->domain);
                else if (is_same(l, &s->info))
                        join(s, l);
        }
        if (!r && !s->slice)
                r = slice_new(s, kept);
        process_unlock();
        return r;
}

static void slice_free(struct slice *l) {
        struct slice **at = &slices;

        while (*at && *at != l)
                at = &(*at)->next;
        if (*at) {
                *at = l->next;
                syscall(SYS_munmap, l->base, l->length);
                cuda_slice_gone(l->base, l->length);
        }
        free(l);
}

bool slice_put(svmd_session *s) {
        struct slice *l = s->slice;

        if (!l)
                return true;
        s->slice = NULL;
        *s->slice_link = s->slice_next;
        if (s->slice_next)
                s->slice_next->slice_link = s->slice_link;
        if (l->sessions)
                return false;
        slice_free(l);
        return true;
}

bool slice_is_shared(const svmd_session *s) {
        return s->slice && s->slice->sessions && s->slice->sessions->slice_next;
}

void slice_forget_all(void) {
        slices = NULL; /* the sessions that are left hold them */
}

/* ---- who shows what ---- */

static struct reservation *same_of(const svmd_session *other, const struct reservation *r) {
        return reservation_of(ranges_find(&other->reservations, r->range.start, r->range.end));
}

void slice_claim(svmd_session *s, struct reservation *r) {
        for (svmd_session *o = s->slice ? s->slice->sessions : NULL; o; o = o->slice_next) {
                struct reservation *theirs;

                if (o == s)
                        continue;
                pthread_mutex_lock(&o->lock);
                theirs = same_of(o, r);
                if (theirs && !theirs->granule && !theirs->shadowed) {
                        r->shadowed = (theirs->access & r->access) == r->access;
                        theirs->shadowed = !r->shadowed;
                }
                pthread_mutex_unlock(&o->lock);
        }
}

bool slice_release(svmd_session *s, const struct reservation *r) {
        bool taken = false;

        for (svmd_session *o = s->slice ? s->slice->sessions : NULL; o && !taken; o = o->slice_next) {
                struct reservation *theirs;

                if (o == s)
                        continue;
                pthread_mutex_lock(&o->lock);
                theirs = same_of(o, r);
                if (theirs && !theirs->granule) {
                        theirs->shadowed = false;
                        theirs->repaint = true;
                        event_refresh(o);
                        taken = true;
                }
                pthread_mutex_unlock(&o->lock);
        }
        return taken;
}

struct reservation *slice_managed(svmd_session *s, const struct reservation *r, slice_wanted_fn wanted,
                                  svmd_session **ret) {
        struct reservation *found = NULL;

        process_lock();
        for (svmd_session *o = s->slice ? s->slice->sessions : NULL; o && !found; o = o->slice_next) {
                struct reservation *theirs;

                if (o == s)
                        continue;
                pthread_mutex_lock(&o->lock);
                theirs = same_of(o, r);
                if (theirs && (theirs->granule || theirs->own) && wanted(theirs, r)) {
                        found = theirs;
                        *ret = o;
                }
                pthread_mutex_unlock(&o->lock);
        }
        process_unlock();
        return found;
}
