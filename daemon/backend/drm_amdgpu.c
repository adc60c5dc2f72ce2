#include <errno.h>
#include <stdio.h>
#include <xf86drm.h>

#include "backend/drm_bind.h"
#include "proto/uapi/amdgpu.h"

/*
 * amdgpu: a file is one page table, and a call one change. MAP over a mapping is refused, which tells of what a client
 * has mapped behind svmd's back; REPLACE asks for nothing. A return of 0 says that the change is known, and not that
 * the device has it yet.
 */
static int call(int fd, unsigned long request, void *arg) {
        return drmIoctl(fd, request, arg) < 0 ? -errno : 0;
}

static int space_new(int fd, uint32_t *ret) {
        *ret = 0;
        return 0;
}

static int space_free(int fd, uint32_t space) {
        return 0;
}

static int memory_new(int fd, uint64_t size, uint32_t *ret) {
        struct amdgpu_gem_create g = { .size = size, .domains = AMDGPU_VRAM };
        int r = call(fd, AMDGPU_GEM_CREATE, &g);

        if (r == 0)
                *ret = g.handle;
        return r;
}

static struct amdgpu_gem_va change_of(const struct drm_binding *b) {
        struct amdgpu_gem_va v = { .address = b->address, .size = b->size, .op = AMDGPU_VA_CLEAR };

        if (b->what == DRM_BIND_UNMAP)
                return v;
        v.op = b->replace ? AMDGPU_VA_REPLACE : AMDGPU_VA_MAP;
        if (b->what == DRM_BIND_EMPTY) {
                v.flags = AMDGPU_PAGE_SPARSE;
                return v;
        }
        v.handle = b->handle;
        v.offset = b->offset;
        v.flags = AMDGPU_PAGE_READ | (b->attrs.access == 3 ? AMDGPU_PAGE_WRITE : 0) |
                  (b->attrs.kind ? AMDGPU_PAGE_EXECUTE : 0) | (uint32_t)b->attrs.pat << AMDGPU_MTYPE_SHIFT;
        return v;
}

static int bind(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done) {
        int r = 0;

        for (*ret_done = 0; *ret_done < count && r == 0; *ret_done += r == 0) {
                struct amdgpu_gem_va v = change_of(&list[*ret_done]);

                r = call(fd, AMDGPU_GEM_VA, &v);
        }
        return r;
}

static bool attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (attrs->pat < AMDGPU_MTYPE_END && attrs->kind <= 1 && attrs->access != 0)
                return true;
        snprintf(
                why, why_size,
                "amdgpu takes a pat of 0 to %u (its MTYPE), kind 0 or 1 (executable), and access to read or to read and "
                "write",
                AMDGPU_MTYPE_END - 1);
        return false;
}

const struct drm_bind_driver drm_bind_amdgpu = {
        .name = "amdgpu",
        .space_new = space_new,
        .space_free = space_free,
        .memory_new = memory_new,
        .bind = bind,
        .attrs_ok = attrs_ok,
};
