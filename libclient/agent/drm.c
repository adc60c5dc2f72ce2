#include "agent/drm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/drm_bind.h"
#include "error.h"
#include "grant.h"
#include "session.h"

enum { PAGE = 4096 };

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

/* `lock` guards the lists; calls of drivers are made with it held. */
struct drm {
        pthread_mutex_t lock;
        struct drm_file *files;
        struct drm_memory *memories;
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
