#include "adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "order.h"
#include "process.h"
#include "source.h"
#include "uffd.h"
#include "wire.h"

/*
 * Memory moves into a managed range at its own address, and back, while other threads use it:
 *
 *      old memory                                     the range's file
 *      checked                                        made by svmd, of no process yet; pinned: nothing of it moves
 *      write-protected: who writes waits
 *                        ---- copied ---->
 *      .................... one mremap() ............ is there instead; who waited is woken, and goes on in it
 *                                                     joined: svmd serves it; unpinned: it moves
 *
 *      a new mapping                                  pinned: all of it is in the file
 *                                                     stopped: svmd serves no fault there, no device sees it; pinned
 *                                                     once more: what had begun before has ended
 *                                                     write-protected
 *                        <---- copied ----
 *      .................... one mremap() ............
 *
 * The old memory is the truth up to that mremap(), which cannot do half of it, and the file from then on; so whatever
 * ends here, at whichever step, leaves one of the two whole. Writers wait in the kernel, on the session's userfaultfd:
 * svmd reads their faults, and lets those wait that are in no range of the session's.
 *
 * From the protection to the mremap() this thread must not need what a writer that waits may hold: there is no
 * malloc(), no stdio and no call to svmd in between, and no lock is waited for. What fails there is undone, with what
 * was at hand.
 */
struct adoption {
        struct adoption *next;
        svmd_mem id;
        uint64_t start, end;
};

enum { PAGE = 4096 };
#define COPY_MAX (1ul << 30)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void *pointer(uint64_t address) {
        return (void *)(uintptr_t)address;
}

/* ---- what svmd is asked for ---- */

static int ask_range(svmd_session *s, struct adoption *a, uint64_t *ret_generation) {
        Svmd__V1__Register body = SVMD__V1__REGISTER__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.address = a->start;
        body.size = a->end - a->start;
        body.mode = SVMD__V1__REGISTER_MODE__REGISTER_ADOPTED;
        op.op_case = SVMD__V1__OP__OP_REGISTER;
        op.register_ = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        a->id = result->id;
        *ret_generation = result->generation;
        call_put(s, c);
        return 0;
}

static int ask_file(svmd_session *s, const struct adoption *a, int *ret) {
        Svmd__V1__RangeFiles body = SVMD__V1__RANGE_FILES__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.reservation = a->id;
        op.op_case = SVMD__V1__OP__OP_RANGE_FILES;
        op.range_files = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = fdlist_steal(&c->in->fds);
        call_put(s, c); /* with the file of the state, which nobody here reads */
        return *ret < 0 ? fail(SVMD_E_FD_COUNT, "svmd sent no file for the adopted range") : 0;
}

static int ask_join(svmd_session *s, const struct adoption *a) {
        Svmd__V1__Join body = SVMD__V1__JOIN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.reservation = a->id;
        op.op_case = SVMD__V1__OP__OP_JOIN;
        op.join = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

static int ask_end(svmd_session *s, const struct adoption *a, bool stop) {
        Svmd__V1__Unregister body = SVMD__V1__UNREGISTER__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.memory = a->id;
        body.stop = stop;
        op.op_case = SVMD__V1__OP__OP_UNREGISTER;
        op.unregister = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

/* One that svmd's end interrupted may have pinned all the same. */
static int pin(svmd_session *s, const struct adoption *a) {
        struct order o;
        int r;

        do {
                order_pin(&o, a->start, a->end - a->start);
                r = order_run_inside(s, &o);
        } while (r == SVMD_E_INTERRUPTED);
        return r;
}

static int ask_unpin(svmd_session *s, const struct adoption *a) {
        struct order o;

        order_pin(&o, a->start, a->end - a->start);
        o.body.pin.off = true;
        o.op.pin = &o.body.pin;
        return call_simple(s, &o.op, SVMD__V1__MODE__BEST_EFFORT);
}

static void unpin(svmd_session *s, const struct adoption *a) {
        char text[ERROR_MAX];

        error_save(text);
        (void)ask_unpin(s, a);
        error_restore(text);
}

static void unpin_all(svmd_session *s, const struct adoption *a) {
        char text[ERROR_MAX];

        error_save(text);
        while (ask_unpin(s, a) == 0)
                ;
        error_restore(text);
}

/* ---- holding writers back ---- */

static int watch(svmd_session *s, uint64_t start, uint64_t end) {
        struct uffdio_register r = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

        if (ioctl(s->uffd, UFFDIO_REGISTER, &r) == 0)
                return 0;
        if (errno == EBUSY)
                return fail(SVMD_E_TAKEN, "part of that memory is on another userfaultfd: another session has "
                                          "registered it, or the program serves its faults itself");
        return fail_errno(errno, "writes to that memory could not be held back");
}

/* Whoever holds the lock may be waiting for what is held back here. */
static bool has_ended(svmd_session *s) {
        bool ended;

        if (pthread_mutex_trylock(&s->lock) != 0)
                return false;
        ended = s->ended;
        pthread_mutex_unlock(&s->lock);
        return ended;
}

/* While mappings change the kernel refuses, until svmd has read of it. errno. */
static int protect(svmd_session *s, uint64_t start, uint64_t end, bool on) {
        struct uffdio_writeprotect w = { .range = { start, end - start },
                                         .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

        while (ioctl(s->uffd, UFFDIO_WRITEPROTECT, &w) < 0) {
                if (errno != EAGAIN)
                        return errno;
                if (has_ended(s))
                        return EAGAIN;
                sched_yield();
        }
        return 0;
}

static void wake(svmd_session *s, uint64_t start, uint64_t end) {
        struct uffdio_range range = { start, end - start };

        (void)ioctl(s->uffd, UFFDIO_WAKE, &range);
}

/* Who waits tries again. */
static void let_go(svmd_session *s, const struct adoption *a) {
        (void)protect(s, a->start, a->end, false);
        uffd_forget(s, a->start, a->end);
}

/* ---- copies. errno. By their numbers: a sanitizer that watches pwrite() takes the writers that wait for a race ----
 */

static int copy_out(int fd, uint64_t from, uint64_t size) {
        for (uint64_t done = 0; done < size;) {
                uint64_t left = size - done;
                long n = syscall(SYS_pwrite64, fd, from + done, left < COPY_MAX ? left : COPY_MAX, done);

                if (n < 0 && errno != EINTR)
                        return errno;
                if (n == 0)
                        return EIO;
                done += n > 0 ? (uint64_t)n : 0;
        }
        return 0;
}

static int copy_in(int fd, uint64_t to, uint64_t offset, uint64_t size) {
        for (uint64_t done = 0; done < size;) {
                uint64_t left = size - done;
                long n = syscall(SYS_pread64, fd, to + done, left < COPY_MAX ? left : COPY_MAX, offset + done);

                if (n < 0 && errno != EINTR)
                        return errno;
                if (n == 0)
                        return EIO;
                done += n > 0 ? (uint64_t)n : 0;
        }
        return 0;
}

/* ---- there ---- */

/* One step for fork(), as in managed.c: a child has nothing of the range. */
static int map_file(svmd_session *s, int fd, uint64_t size, uint64_t *ret) {
        int error = 0;
        long at;

        pthread_mutex_lock(&s->lock);
        at = syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (at == -1)
                error = errno;
        else if (madvise((void *)at, size, MADV_DONTFORK) < 0) {
                error = errno;
                syscall(SYS_munmap, at, size);
        }
        pthread_mutex_unlock(&s->lock);
        *ret = (uint64_t)at;
        return error ? fail_errno(error, "the managed range could not be mapped in this process") : 0;
}

/* Nothing in here may need what a thread holds that waits for the memory. 0 or errno: the old memory is there still. */
static int replace(svmd_session *s, const struct adoption *a, int fd, uint64_t mapped) {
        uint64_t size = a->end - a->start;
        int error = protect(s, a->start, a->end, true);

        if (!error)
                error = copy_out(fd, a->start, size);
        if (!error && syscall(SYS_mremap, mapped, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, a->start) == -1)
                error = errno;
        if (error)
                let_go(s, a);
        else
                wake(s, a->start, a->end);
        return error;
}

/* Each page is there before it is protected: where there is none the kernel would protect nothing. */
static int hold(svmd_session *s, const struct adoption *a) {
        int r = watch(s, a->start, a->end);

        if (r)
                return r;
        if (madvise(pointer(a->start), a->end - a->start, MADV_POPULATE_WRITE) == 0)
                return 0;
        r = fail_errno(errno, "not every page of that memory could be brought in");
        uffd_forget(s, a->start, a->end);
        return r;
}

static int move_in(svmd_session *s, const struct adoption *a, int fd) {
        uint64_t size = a->end - a->start, mapped;
        int r = map_file(s, fd, size, &mapped), error;

        if (r)
                return r;
        r = hold(s, a);
        if (!r) {
                error = replace(s, a, fd, mapped);
                if (!error)
                        return 0;
                r = fail_errno(error, "the memory could not be replaced by the managed range");
        }
        syscall(SYS_munmap, mapped, size);
        return r;
}

/* ---- and back ---- */

struct way_back {
        struct piece *pieces; /* of the range that are mapped still */
        size_t count;
        uint64_t at; /* where they are copied to */
        int fd;
};

static void way_back_free(struct way_back *w, uint64_t size) {
        if (w->at)
                syscall(SYS_munmap, w->at, size);
        if (w->fd >= 0)
                close(w->fd);
        free(w->pieces);
}

/* All that can fail for want of something. */
static int way_back_open(svmd_session *s, const struct adoption *a, struct way_back *w) {
        uint64_t size = a->end - a->start;
        long at;
        int r;

        *w = (struct way_back){ .fd = -1 };
        r = ask_file(s, a, &w->fd);
        if (!r)
                r = source_pieces(w->fd, a->start, a->end, &w->pieces, &w->count);
        if (!r) {
                at = syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                             -1, 0);
                w->at = at == -1 ? 0 : (uint64_t)at;
                if (at == -1 || madvise((void *)at, size, MADV_POPULATE_WRITE) < 0)
                        r = fail_errno(errno, "there is no memory to give the adopted range back to");
        }
        if (r)
                way_back_free(w, size);
        return r;
}

static int protect_pieces(svmd_session *s, const struct way_back *w, bool on) {
        int error = 0;

        for (size_t i = 0; !error && i < w->count; i++)
                error = protect(s, w->pieces[i].start, w->pieces[i].end, on);
        return error;
}

/* As in replace(). What was mapped there before one mremap() that fails is there still, and what follows it. */
static int restore(svmd_session *s, const struct adoption *a, struct way_back *w) {
        int error = protect_pieces(s, w, true);

        for (size_t i = 0; !error && i < w->count; i++)
                error = copy_in(w->fd, w->at + (w->pieces[i].start - a->start), w->pieces[i].start - a->start,
                                w->pieces[i].end - w->pieces[i].start);
        for (size_t i = 0; !error && i < w->count; i++) {
                uint64_t from = w->at + (w->pieces[i].start - a->start), size = w->pieces[i].end - w->pieces[i].start;

                if (syscall(SYS_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, w->pieces[i].start) == -1)
                        error = errno;
                else
                        w->pieces[i].end = w->pieces[i].start;
        }
        if (error)
                for (size_t i = 0; i < w->count; i++)
                        if (w->pieces[i].end > w->pieces[i].start)
                                (void)protect(s, w->pieces[i].start, w->pieces[i].end, false);
        wake(s, a->start, a->end);
        return error;
}

/* svmd serves it again. */
static void go_on(svmd_session *s, const struct adoption *a) {
        char text[ERROR_MAX];

        error_save(text);
        (void)ask_join(s, a);
        error_restore(text);
        wake(s, a->start, a->end);
        unpin(s, a);
}

/* It is pinned, and so it is if this fails: then it is as it was. */
static int stop(svmd_session *s, const struct adoption *a) {
        int r = ask_end(s, a, true);

        if (r)
                return r;
        r = pin(s, a);
        if (r)
                go_on(s, a);
        else
                unpin(s, a);
        return r;
}

static int move_back(svmd_session *s, const struct adoption *a) {
        struct way_back w;
        int r = way_back_open(s, a, &w), error;

        if (r)
                return r;
        r = pin(s, a);
        if (!r) {
                r = stop(s, a);
                if (r)
                        unpin(s, a);
        }
        if (!r) {
                error = restore(s, a, &w);
                if (error) {
                        r = fail_errno(error, "the adopted memory could not be given back");
                        go_on(s, a);
                }
        }
        way_back_free(&w, a->end - a->start);
        return r;
}

/* The range is mapped and svmd does not serve it: what was protected by nobody has to be. */
static void undo(svmd_session *s, const struct adoption *a, int fd) {
        struct way_back w = { .fd = -1 };
        char text[ERROR_MAX];

        error_save(text);
        if (source_pieces(fd, a->start, a->end, &w.pieces, &w.count) == 0 && watch(s, a->start, a->end) == 0) {
                long at = syscall(SYS_mmap, NULL, a->end - a->start, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

                w.fd = fd;
                w.at = at == -1 ? 0 : (uint64_t)at;
                if (at == -1 || restore(s, a, &w) != 0)
                        uffd_forget(s, a->start, a->end); /* it stays what it is: shared memory of nobody else */
                w.fd = -1;
        }
        way_back_free(&w, a->end - a->start);
        error_restore(text);
}

/* ---- all of it ---- */

static int fill(svmd_session *s, const struct adoption *a) {
        int fd, r = ask_file(s, a, &fd);

        if (r)
                return r;
        /* What the process takes is charged to the process. */
        if (fallocate(fd, 0, 0, (off_t)(a->end - a->start)) < 0)
                r = fail_errno(errno, "the machine has not the memory to adopt it");
        if (!r)
                r = pin(s, a);
        if (!r)
                r = move_in(s, a, fd);
        if (!r) {
                r = ask_join(s, a);
                if (r)
                        undo(s, a, fd);
                else
                        unpin_all(s, a);
        }
        close(fd);
        return r;
}

static int make(svmd_session *s, struct adoption *a, uint64_t *ret_generation) {
        char text[ERROR_MAX];
        int r = uffd_get(s);

        if (!r)
                r = ask_range(s, a, ret_generation);
        if (r)
                return r;
        r = fill(s, a);
        if (r) {
                error_save(text);
                (void)ask_end(s, a, false);
                error_restore(text);
        }
        return r;
}

static int check_own(const svmd_session *s, uint64_t start, uint64_t end) {
        uint64_t stack = (uintptr_t)&stack, session = (uintptr_t)s;

        if (stack >= start && stack < end)
                return fail(SVMD_E_UNSUPPORTED, "that is the stack of the calling thread");
        if (session >= start && session < end)
                return fail(SVMD_E_UNSUPPORTED, "that memory has libsvmd's own in it");
        return 0;
}

int adopt(svmd_session *s, uint64_t start, uint64_t end, svmd_mem *ret, uint64_t *ret_generation) {
        struct adoption *a;
        int r;

        start = (start + PAGE - 1) & ~(uint64_t)(PAGE - 1);
        end &= ~(uint64_t)(PAGE - 1);
        if (!start || start >= end)
                return fail(SVMD_E_SIZE, "there is no whole page, 4 KiB each, in what is to be adopted");
        r = check_own(s, start, end);
        if (!r)
                r = source_check(start, end);
        if (r)
                return r;
        a = malloc(sizeof(*a));
        if (!a)
                return fail_memory();
        *a = (struct adoption){ .start = start, .end = end };
        r = make(s, a, ret_generation);
        if (r) {
                free(a);
                return r;
        }
        a->next = s->adoptions;
        s->adoptions = a;
        *ret = a->id;
        return 0;
}

static struct adoption **find(svmd_session *s, svmd_mem mem) {
        struct adoption **at = &s->adoptions;

        while (*at && (*at)->id != mem)
                at = &(*at)->next;
        return at;
}

bool adopt_has(const svmd_session *s, svmd_mem mem) {
        for (const struct adoption *a = s->adoptions; a; a = a->next)
                if (a->id == mem)
                        return true;
        return false;
}

int adopt_end(svmd_session *s, svmd_mem mem) {
        struct adoption **at = find(s, mem), *a = *at;
        int r = move_back(s, a);

        if (r)
                return r;
        *at = a->next;
        r = ask_end(s, a, false);
        free(a);
        return r;
}

void adopt_end_all(svmd_session *s) {
        struct adoption *a;

        while ((a = s->adoptions)) {
                if (!s->forked && adopt_end(s, a->id) == 0)
                        continue;
                if (s->adoptions != a) /* given back, and svmd had gone before it was told */
                        continue;
                if (!s->forked)
                        (void)mprotect(pointer(a->start), a->end - a->start, PROT_NONE);
                s->adoptions = a->next;
                free(a);
        }
}
