#include <errno.h>
#include <stdio.h>
#include <xf86drm.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "proto/uapi/xe.h"

/*
 * xe: a file has many page tables, and takes a vector of changes whole or not at all. MAP replaces without a word, so
 * whether something is mapped there is svmd's to know. The page tables are made without faults, so nobody's address
 * space goes into them.
 */
static int call(int fd, unsigned long request, void *arg) {
        return drmIoctl(fd, request, arg) < 0 ? -errno : 0;
}

static int space_new(int fd, uint32_t *ret) {
        struct xe_vm_create v = { .flags = 0 };
        int r = call(fd, XE_VM_CREATE, &v);

        if (r == 0)
                *ret = v.vm_id;
        return r;
}

static int space_free(int fd, uint32_t space) {
        struct xe_vm_destroy v = { .vm_id = space };

        return call(fd, XE_VM_DESTROY, &v);
}

static int memory_new(int fd, uint64_t size, uint32_t *ret) {
        struct xe_gem_create g = { .size = size, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        int r = call(fd, XE_GEM_CREATE, &g);

        if (r == -EINVAL) { /* a device that is part of the processor has the machine's memory alone */
                g.placement = 1;
                g.cpu_caching = XE_CACHING_WRITE_BACK;
                r = call(fd, XE_GEM_CREATE, &g);
        }
        if (r == 0)
                *ret = g.handle;
        return r;
}

static struct xe_bind_op op_of(const struct drm_binding *b) {
        struct xe_bind_op op = { .range = b->size, .address = b->address, .pat = b->attrs.pat };

        switch (b->what) {
        case DRM_BIND_MAP:
                op.op = XE_BIND_MAP;
                op.object = b->handle;
                op.offset = b->offset;
                op.flags = b->attrs.access == 1 ? XE_BIND_READ_ONLY : 0;
                break;
        case DRM_BIND_EMPTY:
                op.op = XE_BIND_MAP;
                op.flags = XE_BIND_NULL;
                break;
        case DRM_BIND_UNMAP:
                op.op = XE_BIND_UNMAP;
                op.pat = 0;
                break;
        }
        return op;
}

static int bind(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done) {
        struct xe_vm_bind v = { .vm_id = space, .count = count };
        struct xe_bind_op *ops = NULL;
        int r;

        if (count == 1) {
                v.bind = op_of(list);
        } else {
                ops = alloc_array(count, sizeof(*ops));
                if (!ops)
                        return -ENOMEM;
                for (uint32_t i = 0; i < count; i++)
                        ops[i] = op_of(&list[i]);
                v.vector = (uintptr_t)ops;
        }
        r = call(fd, XE_VM_BIND, &v);
        *ret_done = r == 0 ? count : 0;
        alloc_free(ops);
        return r;
}

/* Which of the device's 32 settings of caching a page has. */
static bool attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (attrs->pat < 32 && attrs->kind == 0 && attrs->access != 0)
                return true;
        snprintf(why, why_size, "xe takes a pat of 0 to 31, kind 0, and access to read or to read and write");
        return false;
}

const struct drm_bind_driver drm_bind_xe = {
        .name = "xe",
        .many_spaces = true,
        .space_new = space_new,
        .space_free = space_free,
        .memory_new = memory_new,
        .bind = bind,
        .attrs_ok = attrs_ok,
};
