#include "agent/drm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/drm_bind.h"
#include "error.h"
#include "grant.h"
#include "options.h"
#include "session.h"
#include "va.h"
#include "wire.h"

enum { PAGE = 4096, USUAL_MS = 10000 };

struct drm_file {
        struct drm_file *next;
        svmd_drm id;
        svmd_node node;
        int fd;                               /* a duplicate: the process may close its own */
        const struct drm_bind_driver *driver; /* NULL until it is needed */
};

/* What a grant pays for. */
struct drm_memory {
        struct drm_memory *next;
        struct drm_file *file;
        uint64_t size;
        uint32_t handle;
        struct grant grant;
};

/* Addresses of a page table that this process binds itself. */
struct drm_leave {
        struct drm_leave *next;
        struct drm_file *file;
        uint32_t space;
        int error; /* of the last binding that the driver refused */
        uint64_t start, end, until_ms;
        struct grant grant;
        uint32_t count;
        struct drm_binding bound[DRM_VECTOR_MAX]; /* in force, and svmd has not heard of them */
};

/* `lock` guards the lists; calls of drivers are made with it held. */
struct drm {
        pthread_mutex_t lock;
        struct drm_file *files;
        struct drm_memory *memories;
        struct drm_leave *leaves;
};

/* ---- files ---- */

static int make(svmd_session *s) {
        struct drm *d;

        if (s->drm)
                return 0;
        d = calloc(1, sizeof(*d));
        if (!d)
                return fail_memory();
        pthread_mutex_init(&d->lock, NULL);
        if (!atomic_compare_exchange_strong(&s->drm, &(struct drm *){ NULL }, d))
                free(d);
        return 0;
}

int drm_gave(svmd_session *s, svmd_drm file, svmd_node node, int fd) {
        struct drm_file *f;
        int r = make(s);

        if (r)
                return r;
        f = calloc(1, sizeof(*f));
        if (!f)
                return fail_memory();
        *f = (struct drm_file){ .id = file, .node = node, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0) };
        if (f->fd < 0) {
                free(f);
                return fail_errno(errno, "the file of node %u cannot be duplicated", node);
        }
        pthread_mutex_lock(&s->drm->lock);
        f->next = s->drm->files;
        s->drm->files = f;
        pthread_mutex_unlock(&s->drm->lock);
        return 0;
}

static int on_node(const struct svmd_node_row *row, void *userdata) {
        struct drm_file *f = userdata;

        if (row->id == f->node)
                f->driver = drm_bind_driver(row->driver);
        return 0;
}

/* One whose driver is known. */
static int find_file(svmd_session *s, svmd_drm id, struct drm_file **ret) {
        struct drm_file *f = s->drm->files;
        int r = 0;

        while (f && f->id != id)
                f = f->next;
        if (!f)
                return fail(SVMD_E_NO_SUCH, "this session gave no file %" PRIu64 " of a DRM device (svmd_drm_give)",
                            id);
        if (!f->driver)
                r = svmd_query_nodes(s, on_node, f);
        if (!r && !f->driver)
                r = fail(SVMD_E_NO_NODE, "node %u, whose file that is, is not there", f->node);
        if (!r)
                *ret = f;
        return r;
}

/* ---- memory ---- */

static void memory_drop(struct drm *d, struct drm_memory *m) {
        struct drm_memory **at = &d->memories;

        while (*at != m)
                at = &(*at)->next;
        *at = m->next;
        free(m);
}

/* What svmd refused of what rode on requests is taken back: it had expired. */
static void settle(svmd_session *s) {
        for (struct drm_memory *m = s->drm->memories, *next; m; m = next) {
                next = m->next;
                if (!grant_refused(s, &m->grant))
                        continue;
                (void)drm_file_release(m->file->fd, m->handle);
                grant_done(s, &m->grant, ECANCELED, 0);
                memory_drop(s->drm, m);
        }
}

static int begin(svmd_session *s) {
        int r = session_check(s);

        if (!r)
                r = make(s);
        if (r)
                return r;
        pthread_mutex_lock(&s->drm->lock);
        settle(s);
        return 0;
}

static int leave(svmd_session *s, int r) {
        pthread_mutex_unlock(&s->drm->lock);
        return session_leave(s, r);
}

static int driver_failed(const struct drm_file *f, int error) {
        int code = error == -ENOMEM || error == -ENOSPC || error == -ENOBUFS ? SVMD_E_NO_ROOM
                   : error == -EBUSY                                         ? SVMD_E_BUSY
                                                                             : SVMD_E_SYSTEM;

        return fail(code, "%s %s", f->driver->name, drm_bind_error(error));
}

static int create(svmd_session *s, struct drm_memory *m) {
        const struct grant_request ask = { .node = m->file->node,
                                           .operations = SVMD__V1__GRANT_OPERATION__GRANT_ALLOC,
                                           .bytes = m->size };
        int r = grant_ask(s, &ask, &m->grant), k;

        if (r)
                return r;
        k = m->file->driver->memory_new(m->file->fd, m->size, &m->handle);
        if (k < 0) {
                grant_done(s, &m->grant, -k, 0);
                return driver_failed(m->file, k);
        }
        m->next = s->drm->memories;
        s->drm->memories = m;
        return grant_done(s, &m->grant, 0, 0);
}

static int alloc_in(svmd_session *s, svmd_drm file, size_t size, uint32_t *ret) {
        struct drm_file *f = NULL;
        struct drm_memory *m;
        int r = find_file(s, file, &f);

        if (r)
                return r;
        if (!size || size % PAGE)
                return fail(SVMD_E_SIZE, "%zu bytes are not whole pages of 4 KiB", size);
        m = calloc(1, sizeof(*m));
        if (!m)
                return fail_memory();
        *m = (struct drm_memory){ .file = f, .size = size };
        r = create(s, m);
        if (r)
                free(m);
        else
                *ret = m->handle;
        return r;
}

int svmd_drm_alloc(svmd_session *s, svmd_drm file, size_t size, uint32_t *ret) {
        int r = begin(s);

        return r ? r : leave(s, alloc_in(s, file, size, ret));
}

static int release(svmd_session *s, struct drm_memory *m) {
        int r = drm_file_release(m->file->fd, m->handle);

        if (r < 0 && r != -EINVAL) /* that is a handle which the process has closed itself */
                return driver_failed(m->file, r);
        r = grant_done(s, &m->grant, 0, m->size);
        memory_drop(s->drm, m);
        return r;
}

int svmd_drm_free(svmd_session *s, svmd_drm file, uint32_t handle) {
        struct drm_memory *m;
        int r = begin(s);

        if (r)
                return r;
        for (m = s->drm->memories; m && (m->file->id != file || m->handle != handle); m = m->next)
                ;
        return leave(s, m ? release(s, m)
                          : fail(SVMD_E_NO_SUCH, "svmd_drm_alloc() made no memory %u in file %" PRIu64, handle, file));
}

/* ---- leaves ---- */

static uint64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_BOOTTIME, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void leave_drop(struct drm *d, struct drm_leave *x) {
        struct drm_leave **at = &d->leaves;

        while (*at != x)
                at = &(*at)->next;
        *at = x->next;
        free(x);
}

static struct drm_leave *leave_at(const struct drm *d, svmd_drm file, uint32_t space, uint64_t address) {
        struct drm_leave *x = d->leaves;

        while (x && (x->file->id != file || x->space != space || address < x->start || address >= x->end))
                x = x->next;
        return x;
}

/* svmd will not hear of it any more. */
static void take_back(svmd_session *s, struct drm_leave *x) {
        for (uint32_t i = 0; i < x->count; i++) {
                struct drm_binding b = { .what = DRM_BIND_UNMAP,
                                         .address = x->bound[i].address,
                                         .size = x->bound[i].size };
                uint32_t done;

                (void)drm_bind(x->file->driver, x->file->fd, x->space, &b, 1, &done);
        }
        grant_done(s, &x->grant, ECANCELED, 0);
        leave_drop(s->drm, x);
}

static void put_binding(Svmd__V1__DrmBinding *m, const struct drm_binding *b) {
        svmd__v1__drm_binding__init(m);
        m->what = (Svmd__V1__DrmWhat)b->what;
        m->address = b->address;
        m->size = b->size;
        m->handle = b->handle;
        m->offset = b->offset;
        m->access = b->attrs.access;
        m->pat = b->attrs.pat;
        m->kind = b->attrs.kind;
        m->replace = b->replace;
}

static int send_bound(svmd_session *s, const struct drm_leave *x, Svmd__V1__DrmBinding *rows,
                      Svmd__V1__DrmBinding **list, bool last) {
        Svmd__V1__DrmBound body = SVMD__V1__DRM_BOUND__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        for (uint32_t i = 0; i < x->count; i++) {
                put_binding(&rows[i], &x->bound[i]);
                list[i] = &rows[i];
        }
        body.grant = x->grant.id;
        body.generation = x->grant.generation;
        body.file = x->file->id;
        body.space = x->space;
        body.bindings = list;
        body.n_bindings = x->count;
        body.error = (uint32_t)x->error;
        body.more = !last;
        op.op_case = SVMD__V1__OP__OP_DRM_BOUND;
        op.drm_bound = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

/* One that svmd refuses is over, and what it has not heard of is taken back. */
static int tell(svmd_session *s, struct drm_leave *x, bool last) {
        Svmd__V1__DrmBinding *rows = calloc(x->count + 1, sizeof(*rows));
        Svmd__V1__DrmBinding **list = calloc(x->count + 1, sizeof(*list));
        int r = rows && list ? 0 : fail_memory();

        if (!r) {
                r = send_bound(s, x, rows, list, last);
                if (r && r != SVMD_E_NO_MEMORY)
                        take_back(s, x);
                else if (!r && last)
                        leave_drop(s->drm, x);
                else if (!r)
                        x->count = 0;
        }
        free(rows);
        free(list);
        return r;
}

/* The reservation that all of it lies in. */
static int find_place(svmd_session *s, uint64_t start, uint64_t size, uint64_t *ret) {
        struct reservation *x;
        int r = 0;

        if (!size || size % PAGE || start % PAGE)
                return fail(SVMD_E_ALIGN, "%#" PRIx64 " bytes at %#" PRIx64 " are not whole pages", size, start);
        pthread_mutex_lock(&s->va_lock);
        x = va_at(s, start);
        if (!x || size > x->range.end - start)
                r = fail(SVMD_E_RANGE, "%#" PRIx64 " bytes at %#" PRIx64 " do not lie in a reservation", size, start);
        else
                *ret = x->id;
        pthread_mutex_unlock(&s->va_lock);
        return r;
}

static int ask_leave(svmd_session *s, struct drm_leave *x, unsigned ms) {
        struct grant_request ask = { .node = x->file->node,
                                     .operations = SVMD__V1__GRANT_OPERATION__GRANT_MAP |
                                                   SVMD__V1__GRANT_OPERATION__GRANT_UNMAP,
                                     .address = x->start,
                                     .size = x->end - x->start,
                                     .wait_ms = ms ? ms : USUAL_MS };
        uint64_t begun = now_ms();
        int r = find_place(s, x->start, x->end - x->start, &ask.reservation);

        if (!r)
                r = grant_ask(s, &ask, &x->grant);
        x->until_ms = begun + ask.wait_ms; /* svmd counts from later on */
        return r;
}

static int delegate(svmd_session *s, svmd_drm file, uint32_t space, uint64_t start, uint64_t size, unsigned ms) {
        struct drm_file *f = NULL;
        struct drm_leave *x;
        int r = find_file(s, file, &f);

        if (r)
                return r;
        for (x = s->drm->leaves; x; x = x->next)
                if (x->file->node == f->node && x->start < start + size && start < x->end)
                        return fail(SVMD_E_TAKEN, "this process binds at %#" PRIx64 " itself already", x->start);
        x = calloc(1, sizeof(*x));
        if (!x)
                return fail_memory();
        x->file = f;
        x->space = space;
        x->start = start;
        x->end = start + size;
        r = ask_leave(s, x, ms);
        if (r) {
                free(x);
                return r;
        }
        x->next = s->drm->leaves;
        s->drm->leaves = x;
        return 0;
}

int svmd_drm_delegate(svmd_session *s, svmd_drm file, uint32_t space, const void *address, size_t size, unsigned ms) {
        int r = begin(s);

        return r ? r : leave(s, delegate(s, file, space, (uintptr_t)address, size, ms));
}

int svmd_drm_settle(svmd_session *s, svmd_drm file, uint32_t space, const void *address) {
        struct drm_leave *x;
        int r = begin(s);

        if (r)
                return r;
        x = leave_at(s->drm, file, space, (uintptr_t)address);
        if (!x || x->start != (uintptr_t)address)
                return leave(s, fail(SVMD_E_NO_SUCH, "nothing that this process binds itself begins at %p", address));
        return leave(s, tell(s, x, true));
}

int drm_tell_left(svmd_session *s, svmd_drm file, uint32_t space, bool last) {
        int r = s->drm ? begin(s) : 0;

        if (r || !s->drm)
                return r;
        for (struct drm_leave *x = s->drm->leaves, *next; x && !r; x = next) {
                next = x->next;
                if (x->file->id == file && x->space == space && (last || x->count > 0))
                        r = tell(s, x, last);
        }
        return leave(s, r);
}

bool drm_is_left(svmd_session *s, svmd_drm file, uint32_t space, uint64_t address) {
        bool is;

        if (!s->drm)
                return false;
        pthread_mutex_lock(&s->drm->lock);
        is = leave_at(s->drm, file, space, address) != NULL;
        pthread_mutex_unlock(&s->drm->lock);
        return is;
}

/* ---- bindings of leaves ---- */

static int check_binding(const struct drm_leave *x, const struct drm_binding *b) {
        char why[160];

        if (b->what > DRM_BIND_EMPTY)
                return fail(SVMD_E_INVALID,
                            "at %#" PRIx64 " this process maps and unmaps itself; for the rest end that "
                            "first (svmd_drm_settle)",
                            b->address);
        if (b->address < x->start || b->address >= x->end || b->size > x->end - b->address || !b->size ||
            (b->address | b->size | b->offset) % PAGE)
                return fail(SVMD_E_RANGE,
                            "%#" PRIx64 " bytes at %#" PRIx64 " are not whole pages of what this process binds itself",
                            b->size, b->address);
        if (b->what == DRM_BIND_MAP && !x->file->driver->attrs_ok(&b->attrs, why, sizeof(why)))
                return fail(SVMD_E_INVALID, "%s", why);
        return 0;
}

/* As fill_all() of src/drm.c, for this process. */
static int take_list(const struct drm_leave *x, struct drm_binding *ret, const struct svmd_drm_binding *list,
                     size_t count) {
        const char *at = (const char *)list;
        struct svmd_drm_binding b;
        int r = 0;

        for (size_t i = 0; !r && i < count; i++) {
                r = options_take(&b, sizeof(b), at, "svmd_drm_binding");
                if (r)
                        break;
                ret[i] = (struct drm_binding){
                        .what = (enum drm_bind_what)b.what,
                        .handle = b.handle,
                        .replace = b.replace != 0,
                        .attrs = { .access = (uint8_t)b.access, .pat = (uint8_t)b.pat, .kind = (uint16_t)b.kind },
                        .address = (uintptr_t)b.address,
                        .size = b.length,
                        .offset = b.offset,
                };
                r = check_binding(x, &ret[i]);
                at += ((const struct svmd_drm_binding *)at)->size;
        }
        return r;
}

static int code_of(int error) {
        switch (-error) {
        case ENOMEM:
        case ENOSPC:
        case ENOBUFS: return SVMD_E_NO_MEMORY;
        case EBUSY: return SVMD_E_BUSY;
        case ENOENT: return SVMD_E_NO_SUCH;
        case ENOLINK: return SVMD_E_NO_LINK;
        case EINVAL: return SVMD_E_INVALID;
        default: return SVMD_E_SYSTEM;
        }
}

static int run(struct drm_leave *x, const struct drm_binding *list, uint32_t count) {
        uint32_t done = 0;
        int r = drm_bind(x->file->driver, x->file->fd, x->space, list, count, &done);

        memcpy(x->bound + x->count, list, done * sizeof(*list));
        x->count += done;
        if (r == 0)
                return 0;
        x->error = -r;
        return fail(code_of(r), "binding %u of %u, at %#" PRIx64 ": %s %s; %u stand%s", done + 1, count,
                    list[done].address, x->file->driver->name, drm_bind_error(r), done, done == 1 ? "s" : "");
}

static int bind_left(svmd_session *s, struct drm_leave *x, const struct svmd_drm_binding *list, size_t count) {
        struct drm_binding *taken;
        int r = 0;

        if (now_ms() >= x->until_ms) {
                take_back(s, x);
                return fail(SVMD_E_TIMEOUT, "the time in which this process binds there itself is over, and what svmd "
                                            "had not heard of is unmapped: ask anew (svmd_drm_delegate)");
        }
        if (x->count + count > DRM_VECTOR_MAX)
                r = tell(s, x, false);
        if (r)
                return r;
        taken = calloc(count, sizeof(*taken));
        r = taken ? take_list(x, taken, list, count) : fail_memory();
        if (!r)
                r = run(x, taken, (uint32_t)count);
        free(taken);
        return r;
}

int drm_bind_left(svmd_session *s, svmd_drm file, uint32_t space, const struct svmd_drm_binding *list, size_t count) {
        struct drm_leave *x;
        int r = begin(s);

        if (r)
                return r;
        x = leave_at(s->drm, file, space, (uintptr_t)list->address);
        return leave(s, x ? bind_left(s, x, list, count)
                          : fail(SVMD_E_BUSY, "what this process binds itself has ended meanwhile"));
}

/* ---- end ---- */

/* svmd gives back what its grants paid for. */
void drm_end(svmd_session *s) {
        struct drm *d = s->drm;

        if (!d)
                return;
        while (d->memories) {
                if (!s->forked)
                        (void)drm_file_release(d->memories->file->fd, d->memories->handle);
                memory_drop(d, d->memories);
        }
        while (d->leaves)
                leave_drop(d, d->leaves); /* svmd unmaps all that is there */
        while (d->files) {
                struct drm_file *f = d->files;

                d->files = f->next;
                close(f->fd);
                free(f);
        }
        pthread_mutex_destroy(&d->lock);
        free(d);
        s->drm = NULL;
}
