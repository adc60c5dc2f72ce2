#include "drm_device.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xf86drm.h>

#include "harness.h"

bool drm_device_open(struct drm_device *d, const char *driver) {
        for (unsigned i = 0; i < 64; i++) {
                char path[32];
                drmVersionPtr v;
                bool is;

                snprintf(path, sizeof(path), "/dev/dri/card%u", i);
                d->fd = open(path, O_RDWR | O_CLOEXEC);
                if (d->fd < 0)
                        continue;
                v = drmGetVersion(d->fd);
                is = v && strcmp(v->name, driver) == 0;
                drmFreeVersion(v);
                if (is)
                        return true;
                close(d->fd);
        }
        return false;
}

void drm_device_close(struct drm_device *d) {
        close(d->fd);
}

int drm_device_export(struct drm_device *d, size_t size) {
        struct drm_mode_create_dumb c = { .width = 1024, .height = (uint32_t)(size / 4096), .bpp = 32 };
        int fd = -1;

        if (drmIoctl(d->fd, DRM_IOCTL_MODE_CREATE_DUMB, &c) < 0)
                return -1;
        must(c.size == size);
        must(drmPrimeHandleToFD(d->fd, c.handle, DRM_CLOEXEC | DRM_RDWR, &fd) == 0);
        return fd;
}

/* Drivers let nobody map an import by their own card; so it is looked at by what they export of it. */
void drm_device_imports(struct drm_device *d, int dmabuf, size_t size, size_t i, uint64_t word) {
        struct stat a, b;
        uint32_t handle;
        uint64_t *p;
        int fd;

        must(drmPrimeFDToHandle(d->fd, dmabuf, &handle) == 0);
        must(drmPrimeHandleToFD(d->fd, handle, DRM_CLOEXEC | DRM_RDWR, &fd) == 0);
        must(fstat(dmabuf, &a) == 0 && fstat(fd, &b) == 0);
        must(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
        p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        must(p != MAP_FAILED && p[i] == word);
        munmap(p, size);
        close(fd);
        must(drmCloseBufferHandle(d->fd, handle) == 0);
}
