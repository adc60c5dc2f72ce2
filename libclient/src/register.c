#include "register.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adopt.h"
#include "error.h"
#include "options.h"
#include "process.h"
#include "uffd.h"
#include "wire.h"

/*
 * svmd reaches the memory by a descriptor of /proc/self/mem, which only this process can open as a matter of course,
 * and learns by the session's userfaultfd what becomes of it:
 *
 *      userfaultfd given -> svmd has noted the range -> on the userfaultfd -> the handle is the caller's
 *
 * and in the other order when it ends. Nothing is protected and no fault is raised: the userfaultfd is only there for
 * what the kernel tells of munmap, mremap and madvise.
 */
struct registration {
        struct registration *next;
        svmd_mem mem;
        uint64_t start, end;
};

/* Pages for svmd. It may write into one for a moment after its session has ended, so they stay mapped, for the next. */
struct probe {
        struct probe *next;
        void *page;
};
static struct probe *spare; /* with the lock of managed ranges */

enum { PAGE = 4096, PAGES_A_LOOK = 65536 };

/* ---- the userfaultfd ---- */

static int refuse_kind(int error) {
        switch (error) {
        case EBUSY:
                return fail(
                        SVMD_E_TAKEN,
                        "part of that memory is on another userfaultfd: another session has registered it, or it is "
                        "managed");
        case EINVAL:
                return fail(
                        SVMD_E_UNSUPPORTED,
                        "that memory cannot be registered: only memory of nothing and of memory files (memfd, shared "
                        "memory) can, not files or devices");
        case EPERM:
                return fail(SVMD_E_DENIED, "that memory cannot be registered: it is a file that may not be written");
        default: return fail_errno(error, "that memory could not be put on the userfaultfd");
        }
}

static int watch(svmd_session *s, uint64_t start, uint64_t end) {
        struct uffdio_register r = { .range = { .start = start, .len = end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

        if (ioctl(s->uffd, UFFDIO_REGISTER, &r) < 0)
                return refuse_kind(errno);
        if (r.ioctls & 1ull << _UFFDIO_ZEROPAGE)
                return 0;
        uffd_forget(s, start, end);
        return fail(SVMD_E_UNSUPPORTED, "huge pages of a pool cannot be registered; reserve a managed range with "
                                        "SVMD_RANGE_HUGE instead");
}

/* Unless another registration has some of it. */
static void unwatch(svmd_session *s, uint64_t start, uint64_t end) {
        for (const struct registration *r = s->registrations; r; r = r->next)
                if (r->start < end && start < r->end)
                        return;
        uffd_forget(s, start, end);
}

/* ---- what svmd is asked for ---- */

static int ask(svmd_session *s, uint64_t start, uint64_t size, svmd_mem *ret, uint64_t *ret_generation) {
        Svmd__V1__Register body = SVMD__V1__REGISTER__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[] = { &op };
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC), r;

        if (fd < 0)
                return fail_errno(errno,
                                  "/proc/self/mem, by which svmd reaches registered memory, could not be opened");
        body.address = start;
        body.size = size;
        body.probe = (uintptr_t)s->probe->page;
        op.op_case = SVMD__V1__OP__OP_REGISTER;
        op.register_ = &body;
        request.n_ops = 1;
        request.ops = ops;
        r = call_run(s, &request, &fd, 1, NULL, &c);
        close(fd);
        if (r)
                return r;
        result = call_result(c, 0);
        r = fail_result(result);
        if (!r) {
                *ret = result->id;
                *ret_generation = result->generation;
        }
        call_put(s, c);
        return r;
}

/* svmd needs nothing of it but to be told: what drivers do there goes by files of devices. */
static int add_private(svmd_session *s, uint64_t start, uint64_t size, svmd_mem *ret, uint64_t *ret_generation) {
        Svmd__V1__Register body = SVMD__V1__REGISTER__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.address = start;
        body.size = size;
        body.mode = SVMD__V1__REGISTER_MODE__REGISTER_PRIVATE;
        op.op_case = SVMD__V1__OP__OP_REGISTER;
        op.register_ = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = result->id;
        *ret_generation = result->generation;
        call_put(s, c);
        return 0;
}

static int tell(svmd_session *s, svmd_mem mem) {
        Svmd__V1__Unregister body = SVMD__V1__UNREGISTER__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.memory = mem;
        op.op_case = SVMD__V1__OP__OP_UNREGISTER;
        op.unregister = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

/* What went wrong before is what is said. */
static void take_back(svmd_session *s, svmd_mem mem) {
        char text[ERROR_MAX];

        error_save(text);
        (void)tell(s, mem);
        error_restore(text);
}

/* ---- both ---- */

/* The kernel puts what is mapped of a range on the userfaultfd, and passes over the rest. */
static int check_mapped(uint64_t start, uint64_t end) {
        unsigned char *seen = malloc(PAGES_A_LOOK);
        int r = seen ? 0 : fail_memory();

        while (!r && start < end) {
                uint64_t size =
                        end - start < (uint64_t)PAGES_A_LOOK * PAGE ? end - start : (uint64_t)PAGES_A_LOOK * PAGE;

                if (mincore((void *)(uintptr_t)start, size, seen) < 0)
                        r = errno == ENOMEM ? fail(SVMD_E_NOT_MAPPED, "not all of that range is mapped in this process")
                                            : fail_errno(errno, "what is mapped there could not be seen");
                start += size;
        }
        free(seen);
        return r;
}

static int check(uint64_t start, size_t length, const struct svmd_register_options *opts) {
        if (opts->mode > SVMD_REGISTER_PRIVATE)
                return fail(SVMD_E_UNSUPPORTED, "svmd_register_options.mode is %u; it is one of SVMD_REGISTER_*",
                            opts->mode);
        if (length > UINT64_MAX - start)
                return fail(SVMD_E_SIZE, "length %zu passes the end of addresses", length);
        if (opts->mode == SVMD_REGISTER_ADOPTED)
                return 0;
        if (!start || start % PAGE)
                return fail(SVMD_E_ALIGN, "address 0x%llx is not at a page, 4 KiB each", (unsigned long long)start);
        if (!length || length % PAGE)
                return fail(SVMD_E_SIZE, "length %zu is not a multiple of 4 KiB above 0", length);
        return check_mapped(start, start + length);
}

static int make_probe(svmd_session *s) {
        struct probe *p = spare;

        if (s->probe)
                return 0;
        if (p) {
                spare = p->next;
                s->probe = p;
                return 0;
        }
        p = malloc(sizeof(*p));
        if (!p)
                return fail_memory();
        p->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p->page == MAP_FAILED) {
                free(p);
                return fail_errno(errno, "a page for svmd could not be mapped");
        }
        s->probe = p;
        return 0;
}

static int add(svmd_session *s, uint64_t start, uint64_t end, svmd_mem *ret, uint64_t *ret_generation) {
        struct registration *r = malloc(sizeof(*r));
        int error;

        if (!r)
                return fail_memory();
        error = uffd_get(s);
        if (!error)
                error = make_probe(s);
        if (!error)
                error = ask(s, start, end - start, ret, ret_generation);
        if (!error) {
                error = watch(s, start, end);
                if (error)
                        take_back(s, *ret);
        }
        if (error) {
                free(r);
                return error;
        }
        *r = (struct registration){ .next = s->registrations, .mem = *ret, .start = start, .end = end };
        s->registrations = r;
        return 0;
}

int svmd_register(svmd_session *s, svmd_mem *ret, uint64_t *ret_generation, void *address, size_t length,
                  const struct svmd_register_options *given) {
        uint64_t start = (uintptr_t)address, generation = 0;
        struct svmd_register_options opts;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_register_options");
        if (!r)
                r = check(start, length, &opts);
        if (r)
                return r;
        managed_lock();
        if (opts.mode == SVMD_REGISTER_ADOPTED)
                r = adopt(s, start, start + length, ret, &generation);
        else if (opts.mode == SVMD_REGISTER_PRIVATE)
                r = add_private(s, start, length, ret, &generation);
        else
                r = add(s, start, start + length, ret, &generation);
        managed_unlock();
        if (!r && ret_generation)
                *ret_generation = generation;
        return session_leave(s, r);
}

static struct registration *take(svmd_session *s, svmd_mem mem) {
        for (struct registration **at = &s->registrations; *at; at = &(*at)->next) {
                struct registration *r = *at;

                if (r->mem != mem)
                        continue;
                *at = r->next;
                return r;
        }
        return NULL;
}

int svmd_unregister(svmd_session *s, svmd_mem mem) {
        struct registration *r;
        int error = session_check(s);

        if (error)
                return error;
        managed_lock();
        if (adopt_has(s, mem)) {
                error = adopt_end(s, mem);
                managed_unlock();
                return session_leave(s, error);
        }
        error = tell(s, mem);
        r = error ? NULL : take(s, mem);
        if (r) {
                unwatch(s, r->start, r->end);
                free(r);
        }
        managed_unlock();
        return session_leave(s, error);
}

void registrations_free(svmd_session *s) {
        struct registration *r;

        while ((r = s->registrations)) {
                s->registrations = r->next;
                unwatch(s, r->start, r->end);
                free(r);
        }
        if (!s->probe)
                return;
        managed_lock();
        s->probe->next = spare;
        spare = s->probe;
        managed_unlock();
        s->probe = NULL;
}
