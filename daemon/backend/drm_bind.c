#include "backend/drm_bind.h"

#include <drm.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct drm_bind_driver *drm_bind_driver(const char *name) {
        static const struct drm_bind_driver *const drivers[] = { &drm_bind_xe, &drm_bind_amdgpu, &drm_bind_nouveau };

        for (unsigned i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
                if (strcmp(drivers[i]->name, name) == 0)
                        return drivers[i];
        return NULL;
}

int drm_bind(const struct drm_bind_driver *d, int fd, uint32_t space, const struct drm_binding *list, uint32_t count,
             uint32_t *ret_done) {
        uint32_t piece = count < DRM_VECTOR_MAX ? count : DRM_VECTOR_MAX;

        *ret_done = 0;
        while (*ret_done < count) {
                uint32_t left = count - *ret_done, done = 0;
                int r = d->bind(fd, space, list + *ret_done, piece < left ? piece : left, &done);

                *ret_done += done;
                if (r < 0 && (piece < left ? piece : left) > 1)
                        piece = (piece < left ? piece : left) / 2;
                else if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- fences ---- */

#define SLICE_MS 20

static uint64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* As long as a slice at most. */
static int wait_once(int fd, uint32_t handle, uint64_t point, uint64_t until_ms) {
        struct drm_syncobj_timeline_wait t = { .handles = (uintptr_t)&handle,
                                               .points = (uintptr_t)&point,
                                               .timeout_nsec = (int64_t)until_ms * 1000000,
                                               .count_handles = 1,
                                               .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT };
        struct drm_syncobj_wait w = { .handles = (uintptr_t)&handle,
                                      .timeout_nsec = (int64_t)until_ms * 1000000,
                                      .count_handles = 1,
                                      .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT };

        return point ? drm_call(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &t) : drm_call(fd, DRM_IOCTL_SYNCOBJ_WAIT, &w);
}

int drm_sync_wait(int fd, uint32_t handle, uint64_t point, unsigned wait_ms, const atomic_bool *stop) {
        uint64_t end = now_ms() + wait_ms;

        for (;;) {
                int r = wait_once(fd, handle, point, now_ms() + SLICE_MS);

                if (r != -ETIME)
                        return r;
                if (*stop || now_ms() >= end)
                        return *stop ? -EINTR : -ETIME;
                usleep(1000); /* a driver that does not wait is not asked without end */
        }
}

int drm_sync_signal(int fd, uint32_t handle, uint64_t point) {
        struct drm_syncobj_timeline_array t = { .handles = (uintptr_t)&handle,
                                                .points = (uintptr_t)&point,
                                                .count_handles = 1 };
        struct drm_syncobj_array a = { .handles = (uintptr_t)&handle, .count_handles = 1 };

        return point ? drm_call(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &t) : drm_call(fd, DRM_IOCTL_SYNCOBJ_SIGNAL, &a);
}

const char *drm_bind_error(int error) {
        switch (-error) {
        case EINVAL: return "takes no such binding, or something is mapped there that svmd did not map";
        case EEXIST: return "shows something there already: unmap it first, or ask to replace it";
        case ETIME: return "was not told to go on by a fence that it should wait for: signal it, and try again";
        case EOPNOTSUPP: return "does not tell what it shows";
        case ENOENT: return "knows no such page table or memory in this file: its process has given it up";
        case ENOMEM: return "has no memory left for it: free some of the device's, or bind less";
        case ENOSPC: return "has no room left in the device's memory: free some";
        case ENOBUFS: return "has no room for even one change: let the device finish what it does, and try again";
        case EBUSY: return "uses it at present: wait for the device's work to end, and try again";
        case ENOLINK: return "has no fast link between these two devices: place the memory on the one that uses it";
        case ENOSYS:
                return "lets its own page table be in this file, since memory was made before: open the device anew";
        case EPERM:
        case EACCES: return "lets only the process that opened the file do that";
        case ENODEV: return "has lost the device";
        default: return strerror(-error);
        }
}

int drm_file_release(int fd, uint32_t handle) {
        struct drm_gem_close c = { .handle = handle };

        return drm_call(fd, DRM_IOCTL_GEM_CLOSE, &c);
}
