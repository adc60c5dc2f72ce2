#include "backend/drm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm_about.h"
#include "base/alloc.h"
#include "base/text.h"

/* Two have it: who asked, and the thread, which may hang in a driver for longer than anybody waits. The last one frees
 * it.
 */
struct drm {
        pthread_mutex_t lock;
        unsigned users;
        bool done;
        char dev_root[256], sys_root[256];
        uint32_t count;
        struct drm_device devices[DRM_DEVICES_MAX];
};

/* "renderD128" of the card, where it has one. */
static bool render_node(const struct drm *d, unsigned minor, char *name, size_t size) {
        bool found = false;
        struct dirent *e;
        char path[512];
        DIR *dir;

        snprintf(path, sizeof(path), "%s/class/drm/card%u/device/drm", d->sys_root, minor);
        dir = opendir(path);
        while (dir && !found && (e = readdir(dir))) {
                unsigned number;
                int end = 0;

                found = sscanf(e->d_name, "renderD%4u%n", &number, &end) == 1 && !e->d_name[end];
                if (found)
                        snprintf(name, size, "renderD%u", number);
        }
        if (dir)
                closedir(dir);
        return found;
}

static bool has(int fd, uint64_t what) {
        uint64_t value = 0;

        return drmGetCap(fd, what, &value) == 0 && value;
}

static void ask_prime(struct drm_device *v, int fd) {
        uint64_t prime = 0;

        if (drmGetCap(fd, DRM_CAP_PRIME, &prime) < 0)
                prime = 0;
        v->import = prime & DRM_PRIME_CAP_IMPORT;
        v->export_ = prime & DRM_PRIME_CAP_EXPORT;
        v->syncobj = has(fd, DRM_CAP_SYNCOBJ);
        v->timeline = has(fd, DRM_CAP_SYNCOBJ_TIMELINE);
}

static void ask_version(struct drm_device *v, int fd) {
        drmVersionPtr version = drmGetVersion(fd);

        if (!version)
                return;
        text_copy(v->driver, version->name ? version->name : "");
        text_copy(v->model, version->desc ? version->desc : "");
        snprintf(v->version, sizeof(v->version), "%d.%d.%d", version->version_major, version->version_minor,
                 version->version_patchlevel);
        drmFreeVersion(version);
}

static void ask_bus(struct drm_device *v, int fd) {
        drmDevicePtr device;

        if (drmGetDevice2(fd, 0, &device) != 0)
                return;
        if (device->bustype == DRM_BUS_PCI)
                snprintf(v->bus, sizeof(v->bus), "pci %04x:%02x:%02x.%u", device->businfo.pci->domain,
                         device->businfo.pci->bus, device->businfo.pci->dev, device->businfo.pci->func);
        else
                text_copy(v->bus, device->bustype == DRM_BUS_PLATFORM ? "platform"
                                  : device->bustype == DRM_BUS_USB    ? "usb"
                                                                      : "other");
        drmFreeDevice(&device);
}

/* The card is opened only where there is nothing else: its first opener is its master. */
static void ask(const struct drm *d, struct drm_device *v) {
        char name[32], path[sizeof(d->dev_root) + 48];
        int fd;

        snprintf(name, sizeof(name), "card%u", v->minor);
        v->render = render_node(d, v->minor, name, sizeof(name));
        snprintf(v->node, sizeof(v->node), "/dev/dri/%s", name);
        snprintf(path, sizeof(path), "%s/dri/%s", d->dev_root, name);
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
                v->error = errno;
                return;
        }
        if (!v->render)
                (void)drmDropMaster(fd);
        ask_version(v, fd);
        if (!v->driver[0])
                v->error = ENODEV;
        else
                ask_prime(v, fd);
        ask_bus(v, fd);
        drm_about(v, fd, d->sys_root);
        close(fd);
}

static int by_minor(const void *a, const void *b) {
        const struct drm_device *x = a, *y = b;

        return (x->minor > y->minor) - (x->minor < y->minor);
}

static uint32_t look(const struct drm *d, struct drm_device *devices) {
        uint32_t count = 0;
        struct dirent *e;
        char path[512];
        DIR *dir;

        snprintf(path, sizeof(path), "%s/dri", d->dev_root);
        dir = opendir(path);
        while (dir && count < DRM_DEVICES_MAX && (e = readdir(dir))) {
                unsigned minor;
                int end = 0;

                if (sscanf(e->d_name, "card%4u%n", &minor, &end) == 1 && !e->d_name[end])
                        devices[count++] = (struct drm_device){ .minor = minor };
        }
        if (dir)
                closedir(dir);
        qsort(devices, count, sizeof(*devices), by_minor);
        for (uint32_t i = 0; i < count; i++)
                ask(d, &devices[i]);
        return count;
}

static void leave(struct drm *d) {
        bool last;

        pthread_mutex_lock(&d->lock);
        last = --d->users == 0;
        pthread_mutex_unlock(&d->lock);
        if (!last)
                return;
        pthread_mutex_destroy(&d->lock);
        alloc_free(d);
}

static void *run(void *userdata) {
        struct drm *d = userdata;
        uint32_t count = look(d, d->devices);

        pthread_mutex_lock(&d->lock);
        d->count = count;
        d->done = true;
        pthread_mutex_unlock(&d->lock);
        leave(d);
        return NULL;
}

int drm_new(struct drm **ret, const char *dev_root, const char *sys_root) {
        struct drm *d = alloc_zero(sizeof(*d));
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        if (!d)
                return -ENOMEM;
        pthread_mutex_init(&d->lock, NULL);
        d->users = 2;
        text_copy(d->dev_root, dev_root);
        text_copy(d->sys_root, sys_root);
        r = -pthread_attr_init(&attr);
        if (r == 0) {
                pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
                r = -pthread_create(&thread, &attr, run, d);
                pthread_attr_destroy(&attr);
        }
        if (r < 0) {
                d->users = 1;
                leave(d);
                return -ENOMEM;
        }
        *ret = d;
        return 0;
}

void drm_free(struct drm *d) {
        if (d)
                leave(d);
}

bool drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count) {
        bool done;

        *ret_count = 0;
        if (!d)
                return true;
        pthread_mutex_lock(&d->lock);
        done = d->done;
        *ret = d->devices;
        *ret_count = d->count;
        pthread_mutex_unlock(&d->lock);
        return done;
}
