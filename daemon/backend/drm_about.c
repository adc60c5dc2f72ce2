#include "backend/drm_about.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm.h"
#include "base/alloc.h"
#include "base/text.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"

/*
 * Each driver says in its own way how much memory its device has: xe and nouveau when asked, amdgpu in sysfs.
 * Whether the device is a virtual function says its bus, for all of them.
 */
enum { ANSWER_MAX = 1 << 16 };

/* A number in a file of the device's folder; 0 where it is not there. */
static uint64_t number(const struct drm_device *v, const char *sys_root, const char *name) {
        uint64_t value = 0;
        char path[512];
        FILE *f;

        snprintf(path, sizeof(path), "%s/class/drm/card%u/device/%s", sys_root, v->minor, name);
        f = fopen(path, "re");
        if (!f)
                return 0;
        if (fscanf(f, "%" SCNu64, &value) != 1)
                value = 0;
        fclose(f);
        return value;
}

/* ---- memory ---- */

static void add_regions(struct drm_device *v, const struct xe_query_mem_regions *all, size_t size) {
        for (uint32_t i = 0; i < all->count && (i + 1) * sizeof(all->regions[0]) <= size - sizeof(*all); i++)
                if (all->regions[i].class_ == XE_REGION_VRAM) {
                        v->capacity += all->regions[i].total;
                        v->used += all->regions[i].used;
                }
}

static void ask_xe(struct drm_device *v, int fd) {
        struct xe_device_query q = { .query = XE_QUERY_MEM_REGIONS };
        void *answer;

        if (drmIoctl(fd, XE_DEVICE_QUERY, &q) < 0 || q.size < sizeof(struct xe_query_mem_regions) ||
            q.size > ANSWER_MAX)
                return;
        answer = alloc_zero(q.size);
        if (!answer)
                return;
        q.data = (uintptr_t)answer;
        if (drmIoctl(fd, XE_DEVICE_QUERY, &q) == 0)
                add_regions(v, answer, q.size);
        alloc_free(answer);
}

static uint64_t nouveau_param(int fd, uint64_t param) {
        struct nouveau_getparam g = { .param = param };

        return drmIoctl(fd, NOUVEAU_GETPARAM, &g) < 0 ? 0 : g.value;
}

static void ask_nouveau(struct drm_device *v, int fd) {
        v->capacity = nouveau_param(fd, NOUVEAU_FB_SIZE);
        v->used = nouveau_param(fd, NOUVEAU_VRAM_USED);
        v->varies = true;
}

static void ask_memory(struct drm_device *v, int fd, const char *sys_root) {
        if (strcmp(v->driver, "xe") == 0)
                ask_xe(v, fd);
        if (strcmp(v->driver, "nouveau") == 0)
                ask_nouveau(v, fd);
        if (strcmp(v->driver, "amdgpu") == 0) {
                v->capacity = number(v, sys_root, "mem_info_vram_total");
                v->used = number(v, sys_root, "mem_info_vram_used");
        }
}

/* ---- SR-IOV ---- */

static void ask_functions(struct drm_device *v, const char *sys_root) {
        char path[512], target[PATH_MAX];
        const char *name;
        ssize_t n;

        v->functions = (unsigned)number(v, sys_root, "sriov_numvfs");
        v->functions_most = (unsigned)number(v, sys_root, "sriov_totalvfs");
        snprintf(path, sizeof(path), "%s/class/drm/card%u/device/physfn", sys_root, v->minor);
        n = readlink(path, target, sizeof(target) - 1);
        if (n <= 0)
                return;
        target[n] = 0;
        name = strrchr(target, '/');
        snprintf(v->physical, sizeof(v->physical), "pci %.20s", name ? name + 1 : target);
}

void drm_about(struct drm_device *v, int fd, const char *sys_root) {
        ask_memory(v, fd, sys_root);
        ask_functions(v, sys_root);
}
