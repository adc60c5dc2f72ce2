#include "managed.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cuda.h"
#include "error.h"
#include "event.h"
#include "heads.h"
#include "private.h"
#include "process.h"
#include "proto/range.h"
#include "uffd.h"
#include "va.h"
#include "wire.h"

/*
 * A managed range is one mapping of its whole file. It becomes accessible in steps, so that no thread touches it before
 * svmd sees what is touched:
 *
 *      userfaultfd given -> files -> mapped without access -> joined: svmd has registered it -> accessible
 *
 * and goes in the other order: no access -> svmd is told -> not registered -> the slice's own reservation again.
 * Nothing of this waits for svmd to read an event, which would be for ever after its end.
 *
 * An address is one thing to the whole process, and the kernel registers it with one userfaultfd. So one session of a
 * process maps and joins a range, and the others that have it use that mapping. When that session lets go, one of the
 * others joins in its place; in between, the range is not accessible. A session that wants to write to what another one
 * has mapped to read is refused, because the mapping cannot change while threads use it.
 */
struct files {
        int memory, state;
};

static void close_files(struct files *f) {
        close(f->memory);
        close(f->state);
}

/* ---- what svmd is asked for ---- */

static int check_state(const struct reservation *r, int fd, uint64_t size) {
        struct range_head head = { 0 };
        struct stat st;

        if (fstat(fd, &st) < 0 || pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
                return fail_errno(errno, "the state of a managed range could not be read");
        if (head.magic == RANGE_MAGIC && head.version == RANGE_VERSION && head.granule == r->granule &&
            head.count == (r->range.end - r->range.start) / r->granule && size >= range_state_size(head.count) &&
            (uint64_t)st.st_size >= size)
                return 0;
        return fail(SVMD_E_VERSION,
                    "what svmd says of a managed range's state (version %" PRIu32 ") is not what libsvmd %s reads "
                    "(version %u); use a libsvmd and a svmd of one version",
                    head.version, svmd_version(), RANGE_VERSION);
}

static int take_files(const struct reservation *r, struct call *c, const Svmd__V1__Result *result, struct files *f) {
        int error;

        f->memory = fdlist_steal(&c->in->fds);
        f->state = fdlist_steal(&c->in->fds);
        if (f->state < 0)
                error = fail(SVMD_E_FD_COUNT, "svmd sent no files for the managed range");
        else
                error = check_state(r, f->state, result->size);
        if (error && f->memory >= 0)
                close(f->memory);
        if (error && f->state >= 0)
                close(f->state);
        return error;
}

static int ask_files(svmd_session *s, const struct reservation *r, struct files *f) {
        Svmd__V1__RangeFiles body = SVMD__V1__RANGE_FILES__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int error;

        body.reservation = r->id;
        op.op_case = SVMD__V1__OP__OP_RANGE_FILES;
        op.range_files = &body;
        error = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (error)
                return error;
        error = take_files(r, c, result, f);
        call_put(s, c);
        return error;
}

static int join(svmd_session *s, const struct reservation *r) {
        Svmd__V1__Join body = SVMD__V1__JOIN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.reservation = r->id;
        op.op_case = SVMD__V1__OP__OP_JOIN;
        op.join = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

/* ---- the mapping ---- */

static bool can_write(const struct reservation *r) {
        return r->access == SVMD_ACCESS_READ_WRITE;
}

/* Huge pages must not be taken from the machine for the whole range at once, so nothing is reserved. One step for
 * fork(), as in view.c. */
static int map(svmd_session *s, const struct reservation *r, int fd) {
        uint64_t start = r->range.start, size = r->range.end - start;
        int flags = MAP_FIXED | MAP_NORESERVE | (can_write(r) ? MAP_SHARED : MAP_PRIVATE);
        int error = 0;

        pthread_mutex_lock(&s->lock);
        if (syscall(SYS_mmap, start, size, PROT_NONE, flags, fd, 0) == -1 ||
            madvise((void *)(uintptr_t)start, size, MADV_DONTFORK) < 0)
                error = errno;
        pthread_mutex_unlock(&s->lock);
        return error ? fail_errno(error, "the managed range could not be mapped in this process") : 0;
}

/* False: errno says why. */
static bool change_access(const struct reservation *r, int prot) {
        return syscall(SYS_mprotect, r->range.start, r->range.end - r->range.start, prot) == 0;
}

static int fail_access(void) {
        return fail_errno(errno, "the access to a managed range could not be changed");
}

static int protect(const struct reservation *r, int prot) {
        return change_access(r, prot) ? 0 : fail_access();
}

static void set_mapped(svmd_session *s, struct reservation *r, bool mapped) {
        pthread_mutex_lock(&s->lock);
        r->mapped = mapped;
        pthread_mutex_unlock(&s->lock);
}

/* Without access first, so that no thread that waits there goes on with zeroes. Where that fails (the program unmapped
 * parts of the range by itself) the mapping is replaced as it is, which waits until svmd has heard of it. */
static int blank(svmd_session *s, struct reservation *r) {
        bool closed;
        int error;

        if (r->own) {
                error = va_reset(s, r->range.start, r->range.end);
                set_mapped(s, r, error != 0);
                return error;
        }
        heads_touch(s, r->range.start);
        closed = protect(r, PROT_NONE) == 0;
        if (closed)
                uffd_forget(s, r->range.start, r->range.end);
        error = va_reset(s, r->range.start, r->range.end);
        if (closed || !error)
                set_mapped(s, r, false);
        return error;
}

static int allow(const struct reservation *r) {
        return protect(r, can_write(r) ? PROT_READ | PROT_WRITE : PROT_READ);
}

static int attach(svmd_session *s, struct reservation *r, const struct files *f) {
        char text[ERROR_MAX];
        int error = map(s, r, f->memory);

        if (!error)
                error = join(s, r);
        if (!error)
                error = allow(r);
        if (!error) {
                set_mapped(s, r, true);
                return 0;
        }
        error_save(text);
        (void)blank(s, r); /* what stays is not accessible */
        error_restore(text);
        return error;
}

/* ---- sessions of one process ---- */

static bool is_same(const struct reservation *theirs, const struct reservation *r) {
        return theirs->id == r->id;
}

static bool has_mapped(const struct reservation *theirs, const struct reservation *r) {
        return theirs->id == r->id && theirs->mapped;
}

static bool is_in_the_way(const struct reservation *theirs, const struct reservation *r) {
        return theirs->id != r->id && theirs->mapped;
}

static void displace(svmd_session *s, const struct reservation *r) {
        struct reservation *theirs;
        svmd_session *o;

        while ((theirs = slice_managed(s, r, is_in_the_way, &o))) {
                if (blank(o, theirs))
                        return;
        }
}

void managed_displace(svmd_session *s, const struct reservation *r) {
        managed_lock();
        displace(s, r);
        managed_unlock();
}

/* Another session has the range too: it goes on with it. If it cannot, it tries again with its next call. */
static void hand_over(svmd_session *s, struct reservation *r, svmd_session *o, struct reservation *theirs) {
        struct files f;
        int error = ask_files(o, theirs, &f);

        if (!error) {
                error = uffd_get(o);
                if (!error)
                        error = blank(s, r);
                if (!error)
                        error = attach(o, theirs, &f);
                close_files(&f);
        }
        if (error) {
                pthread_mutex_lock(&o->lock);
                event_refresh(o);
                pthread_mutex_unlock(&o->lock);
        }
}

/* ---- all of it ---- */

static int show(svmd_session *s, struct reservation *r) {
        struct reservation *theirs;
        struct files f;
        svmd_session *o;
        int error = 0;

        displace(s, r);
        theirs = slice_managed(s, r, has_mapped, &o);
        if (theirs && can_write(r) && !can_write(theirs))
                return fail(SVMD_E_BUSY, "another session of this process has the reservation open to read; open it "
                                         "there to read and write, or close it there first");
        if (!theirs)
                error = uffd_get(s);
        if (!error)
                error = ask_files(s, r, &f);
        if (error)
                return error;
        if (!r->head)
                error = heads_add(s, r->range.start, r->range.end, f.state);
        r->head = !error;
        if (!error && !theirs && !r->mapped)
                error = attach(s, r, &f);
        close_files(&f);
        return error;
}

static int map_states(svmd_session *s, const struct reservation *r, const void **ret, size_t *ret_size) {
        size_t size = range_state_size((r->range.end - r->range.start) / r->granule);
        struct files f;
        int error = ask_files(s, r, &f);
        long p;

        if (error)
                return error;
        p = syscall(SYS_mmap, NULL, size, PROT_READ, MAP_SHARED, f.state, 0);
        if (p == -1)
                error = fail_errno(errno, "the state of a managed range could not be mapped");
        close_files(&f);
        if (error)
                return error;
        *ret = (const void *)p;
        *ret_size = size;
        return 0;
}

int svmd_range_states(svmd_session *s, const void *address, const void **ret, size_t *ret_size) {
        const struct reservation *r;
        int error = session_check(s);

        if (error)
                return error;
        pthread_mutex_lock(&s->va_lock);
        r = va_at(s, (uintptr_t)address);
        if (r && r->granule)
                error = map_states(s, r, ret, ret_size);
        else
                error = fail(SVMD_E_NO_SUCH, "no managed reservation of this session contains %p", address);
        pthread_mutex_unlock(&s->va_lock);
        return session_leave(s, error);
}

int managed_show(svmd_session *s, struct reservation *r) {
        int error;

        managed_lock();
        error = r->mapped && r->head ? allow(r) : show(s, r);
        managed_unlock();
        return error;
}

int managed_show_own(svmd_session *s, struct reservation *r) {
        int error;

        managed_lock();
        error = private_show(r);
        set_mapped(s, r, true); /* on failure too: part of it may be */
        managed_unlock();
        return error;
}

/* Where the program has unmapped parts of the range by itself, what lies behind the first of them stays accessible
 * until the mapping is replaced. */
int managed_hide(svmd_session *s, struct reservation *r) {
        int error = 0;

        cuda_managed_leave(s, r->range.start, r->range.end);
        managed_lock();
        heads_touch(s, r->range.start);
        if (r->mapped && !change_access(r, PROT_NONE) && errno != ENOMEM)
                error = fail_access();
        managed_unlock();
        return error;
}

void managed_leave(svmd_session *s, struct reservation *r) {
        svmd_session *o;
        struct reservation *theirs = r->mapped ? slice_managed(s, r, is_same, &o) : NULL;

        if (theirs)
                hand_over(s, r, o, theirs);
        if (r->mapped)
                (void)blank(s, r); /* what stays is not accessible */
        if (!r->own)
                heads_remove(s, r->range.start);
}

int managed_take(svmd_session *s, struct reservation *r) {
        struct reservation *theirs;
        svmd_session *o;
        int error = 0;

        managed_lock();
        theirs = slice_managed(s, r, has_mapped, &o);
        if (theirs)
                error = blank(o, theirs);
        if (!error && !r->mapped)
                error = show(s, r);
        managed_unlock();
        return error;
}
