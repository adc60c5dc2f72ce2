#include "service/drm_work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/text.h"
#include "proto/status.h"
#include "service/drm.h"

/* ---- in the lane ---- */

/* What follows is begun when all fences have been reached, and those of its end are only told of a whole. */
static int run_bind(struct drm_work *x, int fd, const atomic_bool *stop) {
        int r = 0;

        x->stage = DRM_WAITING;
        for (uint32_t i = 0; r == 0 && i < x->waits; i++)
                r = drm_sync_wait(fd, x->wait[i].handle, x->wait[i].point, DRM_SYNC_WAIT_MS, stop);
        if (r < 0)
                return r;
        x->stage = DRM_DOING;
        r = drm_space_bind(x->space, x->driver, fd, x->list, x->count, &x->done);
        if (r < 0)
                return r;
        x->stage = DRM_SIGNALLING;
        for (uint32_t i = 0; r == 0 && i < x->signals; i++)
                r = drm_sync_signal(fd, x->signal[i].handle, x->signal[i].point);
        return r;
}

static int run_make(struct drm_work *x, int fd) {
        uint32_t number = 0;
        int r = x->driver->space_new(fd, &number);

        if (r == 0)
                drm_space_set_number(x->space, number);
        return r;
}

static void run(struct private_work *w, int fd, const atomic_bool *stop) {
        struct drm_work *x = container_of(w, struct drm_work, work);

        switch (x->job) {
        case DRM_JOB_MAKE: x->result = run_make(x, fd); break;
        case DRM_JOB_TAKE: x->result = x->driver->space_look(fd, drm_space_number(x->space)); break;
        case DRM_JOB_LET_GO:
                x->result =
                        drm_space_end(x->space, x->driver, fd, x->start, x->size, x->made && x->driver->many_spaces);
                break;
        case DRM_JOB_CHECK: x->result = drm_space_audit(x->space, x->driver, fd, x->start, x->size, &x->audit); break;
        case DRM_JOB_BIND: x->result = run_bind(x, fd, stop); break;
        }
}

static void forget(struct private_work *w) {
        struct drm_work *x = container_of(w, struct drm_work, work);

        drm_table_free(x->table);
        drm_space_drop(x->space);
}

struct drm_work *drm_work_new(enum drm_job job, struct drm_space *space, uint32_t count) {
        struct drm_work *x = alloc_zero(sizeof(*x) + count * sizeof(x->list[0]));

        if (!x)
                return NULL;
        x->job = job;
        x->space = drm_space_hold(space);
        x->count = count;
        x->work.task = PRIVATE_CALL;
        x->work.call = run;
        x->work.forget = forget;
        list_init(&x->work.link);
        return x;
}

/* ---- words ---- */

static unsigned code_of(int error) {
        switch (-error) {
        case ENOMEM:
        case ENOSPC:
        case ENOBUFS: return SVMD_STATUS_NO_MEMORY;
        case ETIME:
        case EBUSY: return SVMD_STATUS_BUSY;
        case ENOENT: return SVMD_STATUS_NO_SUCH;
        case ENOLINK: return SVMD_STATUS_NO_LINK;
        case EEXIST: return SVMD_STATUS_TAKEN;
        case EOPNOTSUPP: return SVMD_STATUS_NODE_KIND;
        case EINVAL: return SVMD_STATUS_INVALID;
        default: return SVMD_STATUS_SYSTEM;
        }
}

static void say_bind(const struct drm_work *x, struct device_result *d) {
        const char *name = x->driver->name, *why = drm_bind_error(x->result);

        if (x->stage == DRM_WAITING)
                snprintf(d->text, sizeof(d->text), "%s %s; nothing was begun", name, why);
        else if (x->stage == DRM_SIGNALLING)
                snprintf(d->text, sizeof(d->text), "all is in force, but a fence of its end was not signalled: %s %s",
                         name, why);
        else
                snprintf(d->text, sizeof(d->text), "binding %u of %u, at 0x%" PRIx64 ": %s %s; %u stand%s", x->done + 1,
                         x->count, x->list[x->done].address, name, why, x->done, x->done == 1 ? "s" : "");
        if (x->stage == DRM_DOING)
                d->address = x->list[x->done].address;
}

static void say_check(const struct drm_work *x, struct device_result *d) {
        const struct drm_audit *a = &x->audit;
        char foreign[24], missing[24], moved[24], elsewhere[24];
        size_t used;

        d->value = a->foreign + a->missing + a->moved;
        d->address = a->first;
        text_bytes(foreign, sizeof(foreign), a->foreign);
        text_bytes(missing, sizeof(missing), a->missing);
        text_bytes(moved, sizeof(moved), a->moved);
        if (a->lost)
                snprintf(d->text, sizeof(d->text),
                         "svmd does not know all that it bound there before it was restarted; of others or of then: "
                         "%s, gone since: %s",
                         foreign, missing);
        else if (d->value)
                snprintf(d->text, sizeof(d->text), "bound by others: %s, gone: %s, other memory than svmd bound: %s",
                         foreign, missing, a->contents ? moved : "not told");
        if (!a->elsewhere)
                return;
        text_bytes(elsewhere, sizeof(elsewhere), a->elsewhere);
        used = strlen(d->text);
        snprintf(d->text + used, sizeof(d->text) - used, "%splaced outside of the device's memory: %s",
                 used ? ", " : "", elsewhere);
}

void drm_work_say(const struct drm_work *x, struct device_result *d) {
        d->value = x->job == DRM_JOB_BIND ? x->done : drm_space_number(x->space);
        if (x->result < 0) {
                d->code = code_of(x->result);
                if (x->job == DRM_JOB_BIND)
                        say_bind(x, d);
                else
                        snprintf(d->text, sizeof(d->text), "%s %s", x->driver->name, drm_bind_error(x->result));
        } else if (x->job == DRM_JOB_CHECK) {
                say_check(x, d);
        }
}
