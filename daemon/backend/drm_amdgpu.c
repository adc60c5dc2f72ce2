#include <errno.h>
#include <stdio.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "proto/uapi/amdgpu.h"

/*
 * amdgpu: a file is one page table, and a call one change. MAP over a mapping is refused, which tells of what a client
 * has mapped behind svmd's back; REPLACE asks for nothing. A return of 0 says that the change is known, and not that
 * the device has it yet.
 */
static int space_new(int fd, uint32_t *ret) {
        *ret = 0;
        return 0;
}

static int space_look(int fd, uint32_t space) {
        return space == 0 ? 0 : -ENOENT;
}

static int space_free(int fd, uint32_t space) {
        return 0;
}

static int memory_new(int fd, uint64_t size, uint32_t *ret) {
        struct amdgpu_gem_create g = { .size = size, .domains = AMDGPU_VRAM };
        int r = drm_call(fd, AMDGPU_GEM_CREATE, &g);

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

/* The driver moves it when the device uses it next. */
static int place(int fd, const struct drm_binding *b) {
        static const uint64_t domains[] = { AMDGPU_VRAM | AMDGPU_GTT, AMDGPU_VRAM, AMDGPU_GTT };
        struct amdgpu_gem_op op = { .handle = b->handle, .op = AMDGPU_OP_PLACEMENT, .value = domains[b->value] };

        return drm_call(fd, AMDGPU_GEM_OP, &op);
}

static int change(int fd, const struct drm_binding *b) {
        struct amdgpu_gem_va v = change_of(b);

        return drm_call(fd, AMDGPU_GEM_VA, &v);
}

static int bind(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done) {
        int r = 0;

        for (*ret_done = 0; *ret_done < count && r == 0; *ret_done += r == 0) {
                const struct drm_binding *b = &list[*ret_done];

                r = b->what == DRM_BIND_PLACE ? place(fd, b) : change(fd, b);
        }
        return r;
}

/* ---- what is there ---- */

static int handles_of(int fd, struct amdgpu_handle **ret, uint32_t *ret_count) {
        struct amdgpu_list_handles l = { 0 };
        int r = drm_call(fd, AMDGPU_LIST_HANDLES, &l);
        uint32_t room = l.count + 16;

        if (r < 0)
                return r == -EINVAL || r == -ENOTTY ? -EOPNOTSUPP : r; /* kernels before 6.18 */
        *ret = alloc_array(room, sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        l = (struct amdgpu_list_handles){ .entries = (uintptr_t)*ret, .count = room };
        r = drm_call(fd, AMDGPU_LIST_HANDLES, &l);
        *ret_count = l.count < room ? l.count : room;
        if (r < 0)
                alloc_free(*ret);
        return r;
}

struct reading {
        int fd;
        uint64_t start, end;
        struct drm_seen *seen;
        uint32_t count, room;
};

static int note(struct reading *x, const struct amdgpu_handle *h, const struct amdgpu_mapping *m) {
        struct drm_seen *more;

        if (m->address >= x->end || m->address + m->size <= x->start)
                return 0;
        if (x->count == x->room) {
                more = alloc_grow(x->seen, x->room * sizeof(*more), (x->room * 2 + 64) * sizeof(*more));
                if (!more)
                        return -ENOMEM;
                x->seen = more;
                x->room = x->room * 2 + 64;
        }
        x->seen[x->count++] = (struct drm_seen){
                .address = m->address,
                .size = m->size,
                .offset = m->offset,
                .handle = h->handle,
                .elsewhere = !(h->domains & AMDGPU_VRAM),
        };
        return 0;
}

/* A handle that has gone meanwhile shows nothing any more. */
static int read_handle(struct reading *x, const struct amdgpu_handle *h) {
        struct amdgpu_gem_op_long op = { .op = { .handle = h->handle, .op = AMDGPU_OP_MAPPINGS } };
        int r = drm_call(x->fd, AMDGPU_GEM_OP_LONG, &op);
        struct amdgpu_mapping *list;
        uint32_t room = op.count + 16;

        if (r < 0)
                return r == -ENOENT ? 0 : r == -EINVAL ? -EOPNOTSUPP : r;
        list = alloc_array(room, sizeof(*list));
        if (!list)
                return -ENOMEM;
        op.op.value = (uintptr_t)list;
        op.count = room;
        r = drm_call(x->fd, AMDGPU_GEM_OP_LONG, &op);
        for (uint32_t i = 0; r == 0 && i < op.count && i < room; i++)
                r = note(x, h, &list[i]);
        alloc_free(list);
        return r == -ENOENT ? 0 : r;
}

static int read_all(int fd, uint32_t space, uint64_t start, uint64_t size, struct drm_seen **ret, uint32_t *ret_count) {
        struct reading x = { .fd = fd, .start = start, .end = start + size };
        struct amdgpu_handle *handles;
        uint32_t count = 0;
        int r = handles_of(fd, &handles, &count);

        if (r < 0)
                return r;
        for (uint32_t i = 0; r == 0 && i < count; i++)
                r = read_handle(&x, &handles[i]);
        alloc_free(handles);
        if (r < 0) {
                alloc_free(x.seen);
                return r;
        }
        *ret = x.seen;
        *ret_count = x.count;
        return 0;
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
        .can = DRM_CAN(MAP) | DRM_CAN(UNMAP) | DRM_CAN(EMPTY) | DRM_CAN(PLACE),
        .space_new = space_new,
        .space_look = space_look,
        .space_free = space_free,
        .memory_new = memory_new,
        .bind = bind,
        .read = read_all,
        .tells_memory = true,
        .attrs_ok = attrs_ok,
};
