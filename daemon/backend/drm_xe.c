#include <errno.h>
#include <stdio.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "proto/uapi/xe.h"

/*
 * xe: a file has many page tables, and takes a vector of changes whole or not at all. MAP replaces without a word, so
 * whether something is mapped there is svmd's to know. The page tables are made without faults, so nobody's address
 * space goes into them.
 */
enum { SYSTEM = 0, VRAM = 1 }; /* regions, where the device has memory of its own */

static int space_new(int fd, uint32_t *ret) {
        struct xe_vm_create v = { .flags = 0 };
        int r = drm_call(fd, XE_VM_CREATE, &v);

        if (r == 0)
                *ret = v.vm_id;
        return r;
}

static int space_free(int fd, uint32_t space) {
        struct xe_vm_destroy v = { .vm_id = space };

        return drm_call(fd, XE_VM_DESTROY, &v);
}

static int memory_new(int fd, uint64_t size, uint32_t *ret) {
        struct xe_gem_create g = { .size = size, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        int r = drm_call(fd, XE_GEM_CREATE, &g);

        if (r == -EINVAL) { /* a device that is part of the processor has the machine's memory alone */
                g.placement = 1;
                g.cpu_caching = XE_CACHING_WRITE_BACK;
                r = drm_call(fd, XE_GEM_CREATE, &g);
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
        case DRM_BIND_MIRROR:
                op.op = XE_BIND_MAP;
                op.flags = XE_BIND_CPU_MIRROR;
                break;
        case DRM_BIND_PREFETCH:
                op.op = XE_BIND_PREFETCH;
                op.pat = 0;
                op.prefetch_region = b->value == 0 ? XE_PREFETCH_AS_ADVISED : b->value == 1 ? VRAM : SYSTEM;
                break;
        default:
                op.op = XE_BIND_UNMAP;
                op.pat = 0;
                break;
        }
        return op;
}

static int advise(int fd, uint32_t space, const struct drm_binding *b) {
        struct xe_madvise m = { .start = b->address, .range = b->size, .vm_id = space };

        if (b->advice == DRM_ADVICE_PREFERRED) {
                m.type = XE_ADVISE_PREFERRED;
                m.preferred.device_fd = b->value == 1 ? XE_PREFERRED_LOCAL : XE_PREFERRED_SYSTEM;
        } else {
                m.type = b->advice == DRM_ADVICE_ATOMIC ? XE_ADVISE_ATOMIC : XE_ADVISE_PAT;
                m.number.value = b->value;
        }
        return drm_call(fd, XE_MADVISE, &m);
}

/* Advice has a call of its own, each: those before it are a vector. */
static uint32_t until_advice(const struct drm_binding *list, uint32_t count) {
        uint32_t i = 0;

        while (i < count && list[i].what != DRM_BIND_ADVISE)
                i++;
        return i;
}

static int bind(int fd, uint32_t space, const struct drm_binding *list, uint32_t most, uint32_t *ret_done) {
        uint32_t count = until_advice(list, most);
        struct xe_vm_bind v = { .vm_id = space, .count = count };
        struct xe_bind_op *ops = NULL;
        int r;

        if (count == 0) {
                r = advise(fd, space, list);
                *ret_done = r == 0;
                return r;
        }
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
        r = drm_call(fd, XE_VM_BIND, &v);
        *ret_done = r == 0 ? count : 0;
        alloc_free(ops);
        return r;
}

static int range_attrs(int fd, struct xe_query_range_attrs *q) {
        int r = drm_call(fd, XE_QUERY_MEM_RANGE_ATTRS, q);

        return r == -EINVAL ? -EOPNOTSUPP : r; /* kernels before 6.18 */
}

static int space_look(int fd, uint32_t space) {
        struct xe_query_range_attrs q = { .vm_id = space, .range = 4096 };

        return range_attrs(fd, &q) == -ENOENT ? -ENOENT : 0;
}

/* Of its ranges it says where they are and what they are advised, and not what they show. Between the two questions
 * there may be more of them: then it is asked again. */
static int read_all(int fd, uint32_t space, uint64_t start, uint64_t size, struct drm_seen **ret, uint32_t *ret_count) {
        struct xe_query_range_attrs q;
        struct xe_range_attr *attrs = NULL;
        int r;

        do {
                alloc_free(attrs);
                q = (struct xe_query_range_attrs){ .vm_id = space, .start = start, .range = size };
                r = range_attrs(fd, &q);
                if (r < 0)
                        return r;
                q.count += 16;
                q.attr_size = sizeof(*attrs);
                attrs = alloc_array(q.count, sizeof(*attrs));
                *ret = attrs ? alloc_array(q.count, sizeof(**ret)) : NULL;
                q.vector = (uintptr_t)attrs;
                r = *ret ? range_attrs(fd, &q) : -ENOMEM;
                if (r < 0)
                        alloc_free(*ret);
        } while (r == -ENOSPC);
        *ret_count = q.count;
        for (uint32_t i = 0; r == 0 && i < q.count; i++)
                (*ret)[i] = (struct drm_seen){ .address = attrs[i].start, .size = attrs[i].end - attrs[i].start };
        alloc_free(attrs);
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
        .can = DRM_CAN(MAP) | DRM_CAN(UNMAP) | DRM_CAN(EMPTY) | DRM_CAN(MIRROR) | DRM_CAN(PREFETCH) | DRM_CAN(ADVISE),
        .space_new = space_new,
        .space_look = space_look,
        .space_free = space_free,
        .memory_new = memory_new,
        .bind = bind,
        .read = read_all,
        .attrs_ok = attrs_ok,
};
