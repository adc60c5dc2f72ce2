#include "drm_model.h"

#include <drm.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

const char *drm_broken;

bool drm_rule(const char *number) {
        return !drm_broken || strcmp(drm_broken, number) != 0;
}

/* ---- objects and handles ---- */

int drm_object_new(struct drm_object **ret, struct drm_card *card, uint64_t size, bool vram) {
        struct drm_object *o;

        if (vram && size > card->vram - card->vram_used - card->pinned && drm_rule("D3"))
                return -ENOMEM;
        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;
        *o = (struct drm_object){ .users = 1, .size = size, .card = card, .vram = vram };
        card->vram_used += vram ? size : 0;
        *ret = o;
        return 0;
}

void drm_object_hold(struct drm_object *o) {
        if (o)
                o->users++;
}

void drm_object_drop(struct drm_object *o) {
        if (!o || --o->users > 0)
                return;
        o->card->vram_used -= o->vram ? o->size : 0;
        free(o);
}

int drm_handle_new(struct drm_file *f, struct drm_object *o, uint32_t *ret) {
        for (uint32_t i = 0; i < DRM_HANDLES_MAX; i++)
                if (!f->handles[i]) {
                        f->handles[i] = o;
                        *ret = i + 1;
                        return 0;
                }
        drm_object_drop(o);
        return -ENOMEM;
}

struct drm_object *drm_handle(const struct drm_file *f, uint32_t handle) {
        return handle - 1 < DRM_HANDLES_MAX ? f->handles[handle - 1] : NULL;
}

/* ---- what all drivers have ---- */

static int give_text(const struct drm_caller *c, char *to, size_t *length, const char *text) {
        size_t n = strlen(text), room = *length;

        *length = n;
        return to && room ? c->write(c->userdata, (uint64_t)(uintptr_t)to, text, n < room ? n : room) : 0;
}

static int version(struct drm_file *f, const struct drm_caller *c, struct drm_version *v) {
        const struct drm_driver *d = f->card->driver;
        int r = give_text(c, v->name, &v->name_len, d->name);

        v->version_major = d->major;
        v->version_minor = d->minor;
        v->version_patchlevel = d->patch;
        if (r == 0)
                r = give_text(c, v->date, &v->date_len, "20240101");
        return r == 0 ? give_text(c, v->desc, &v->desc_len, d->description) : r;
}

/* It cannot hand out a descriptor, so it exports nothing. */
static int get_cap(struct drm_get_cap *cap) {
        bool syncobj = cap->capability == DRM_CAP_SYNCOBJ || cap->capability == DRM_CAP_SYNCOBJ_TIMELINE;

        cap->value = cap->capability == DRM_CAP_PRIME ? DRM_PRIME_CAP_IMPORT : syncobj;
        return 0;
}

static int prime_in(struct drm_file *f, const struct drm_caller *c, struct drm_prime_handle *p) {
        struct drm_foreign foreign = { 0 };
        struct drm_object *o;
        int r = c->identify ? c->identify(c->userdata, p->fd, &foreign) : -EBADF;

        if (r < 0 || foreign.device)
                return r < 0 ? r : -EINVAL;
        for (uint32_t i = 0; i < DRM_HANDLES_MAX && drm_rule("D1"); i++)
                if (f->handles[i] && f->handles[i]->identity == foreign.identity) {
                        p->handle = i + 1;
                        return 0;
                }
        r = drm_object_new(&o, f->card, foreign.size, false);
        if (r < 0)
                return r;
        o->identity = foreign.identity;
        return drm_handle_new(f, o, &p->handle);
}

static int gem_close(struct drm_file *f, uint32_t handle) {
        struct drm_object *o = drm_handle(f, handle);

        if (!o)
                return -EINVAL;
        f->handles[handle - 1] = NULL;
        if (f->card->driver->closed)
                f->card->driver->closed(f, o);
        drm_object_drop(o);
        return 0;
}

/* ---- fences ---- */

static int sync_new(struct drm_file *f, struct drm_syncobj_create *n) {
        for (uint32_t i = 0; i < DRM_SYNCS_END; i++)
                if (!f->syncs[i].there) {
                        f->syncs[i] = (struct drm_syncobj){ .there = true,
                                                            .signalled = n->flags & DRM_SYNCOBJ_CREATE_SIGNALED };
                        n->handle = i + 1;
                        return 0;
                }
        return -ENOMEM;
}

static int sync_at(struct drm_file *f, const struct drm_caller *c, uint64_t handles, uint32_t i,
                   struct drm_syncobj **ret) {
        uint32_t handle = 0;
        int r = c->read(c->userdata, handles + i * sizeof(handle), &handle, sizeof(handle));

        if (r < 0)
                return r;
        *ret = handle - 1 < DRM_SYNCS_END ? &f->syncs[handle - 1] : NULL;
        return *ret && ((*ret)->there || !drm_rule("D4")) ? 0 : -ENOENT;
}

/* It never waits itself: what is not there yet is not there in time. Of those of `points` 0 no point is asked. */
static int sync_wait(struct drm_file *f, const struct drm_caller *c, uint64_t handles, uint64_t points,
                     uint32_t count) {
        int r = count ? 0 : -EINVAL;

        for (uint32_t i = 0; r == 0 && i < count; i++) {
                struct drm_syncobj *s;
                uint64_t point = 0;

                r = sync_at(f, c, handles, i, &s);
                if (r == 0 && points)
                        r = c->read(c->userdata, points + i * sizeof(point), &point, sizeof(point));
                if (r == 0 && !(point ? s->point >= point || !drm_rule("D6") : s->signalled || !drm_rule("D5")))
                        r = -ETIME;
        }
        return r;
}

static int sync_signal(struct drm_file *f, const struct drm_caller *c, uint64_t handles, uint64_t points,
                       uint32_t count) {
        int r = count ? 0 : -EINVAL;

        for (uint32_t i = 0; r == 0 && i < count; i++) {
                struct drm_syncobj *s;
                uint64_t point = 0;

                r = sync_at(f, c, handles, i, &s);
                if (r == 0 && points)
                        r = c->read(c->userdata, points + i * sizeof(point), &point, sizeof(point));
                if (r == 0)
                        s->signalled = true;
                if (r == 0 && point > s->point)
                        s->point = point;
        }
        return r;
}

static int sync_end(struct drm_file *f, uint32_t handle) {
        if (handle - 1 >= DRM_SYNCS_END || !f->syncs[handle - 1].there)
                return -EINVAL;
        f->syncs[handle - 1].there = false;
        return 0;
}

static int sync_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg) {
        const struct drm_syncobj_wait *w = arg;
        const struct drm_syncobj_timeline_wait *tw = arg;
        const struct drm_syncobj_array *a = arg;
        const struct drm_syncobj_timeline_array *ta = arg;

        switch (nr) {
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_CREATE): return sync_new(f, arg);
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_DESTROY): return sync_end(f, ((struct drm_syncobj_destroy *)arg)->handle);
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_WAIT): return sync_wait(f, c, w->handles, 0, w->count_handles);
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT):
                return sync_wait(f, c, tw->handles, tw->points, tw->count_handles);
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_SIGNAL): return sync_signal(f, c, a->handles, 0, a->count_handles);
        default: return sync_signal(f, c, ta->handles, ta->points, ta->count_handles);
        }
}

static int dispatch(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg, unsigned size) {
        switch (nr) {
        case _IOC_NR(DRM_IOCTL_VERSION): return version(f, c, arg);
        case _IOC_NR(DRM_IOCTL_GET_CAP): return get_cap(arg);
        case _IOC_NR(DRM_IOCTL_GEM_CLOSE): return gem_close(f, ((struct drm_gem_close *)arg)->handle);
        case _IOC_NR(DRM_IOCTL_PRIME_FD_TO_HANDLE): return prime_in(f, c, arg);
        /* An emulated file can hand out no descriptor. */
        case _IOC_NR(DRM_IOCTL_PRIME_HANDLE_TO_FD): return -ENOSYS;
        case _IOC_NR(DRM_IOCTL_SET_MASTER):
        case _IOC_NR(DRM_IOCTL_DROP_MASTER): return drm_rule("D2") ? -EACCES : 0;
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_CREATE):
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_DESTROY):
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_WAIT):
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT):
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_SIGNAL):
        case _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL): return sync_ioctl(f, c, nr, arg);
        default: break;
        }
        return nr >= DRM_COMMAND_BASE && nr < DRM_COMMAND_END ? f->card->driver->ioctl(f, c, nr, arg, size) : -EINVAL;
}

static bool refused(struct drm_refusal *x, unsigned long request) {
        if (x->times == 0 || _IOC_NR(request) != _IOC_NR(x->request))
                return false;
        if (x->after > 0) {
                x->after--;
                return false;
        }
        x->times--;
        return true;
}

/* A shorter argument than the driver knows is filled up with zeroes, of a longer one the rest is ignored. */
int drm_file_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned long request, void *arg) {
        uint64_t buffer[32] = { 0 };
        unsigned size = _IOC_SIZE(request), used = size < sizeof(buffer) ? size : sizeof(buffer);
        int r;

        if (_IOC_TYPE(request) != DRM_IOCTL_BASE)
                return -ENOTTY;
        f->card->ioctls++;
        if (refused(&f->card->refuses, request))
                return f->card->refuses.error;
        memcpy(buffer, arg, used);
        r = dispatch(f, c, _IOC_NR(request), buffer, size);
        memcpy(arg, buffer, used);
        return r;
}

int drm_file_new(struct drm_file **ret, struct drm_card *card) {
        struct drm_file *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->card = card;
        f->own = calloc(1, card->driver->file_size);
        if (!f->own) {
                free(f);
                return -ENOMEM;
        }
        *ret = f;
        return 0;
}

void drm_file_free(struct drm_file *f) {
        f->card->driver->file_fini(f);
        for (uint32_t i = 0; i < DRM_HANDLES_MAX; i++)
                drm_object_drop(f->handles[i]);
        free(f->own);
        free(f);
}
