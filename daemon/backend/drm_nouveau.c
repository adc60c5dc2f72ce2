#include <errno.h>
#include <stdio.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "proto/uapi/nouveau.h"

/*
 * nouveau: a file is one page table, which programs change once they have said so, before any memory is made in it.
 * What the driver keeps for itself lies above all addresses that svmd gives out.
 */
#define KERNEL_ADDRESS (1ull << 46)
#define KERNEL_SIZE    (1ull << 46)

/* A process that has said so itself is as good. */
static int space_new(int fd, uint32_t *ret) {
        struct nouveau_vm_init v = { .kernel_address = KERNEL_ADDRESS, .kernel_size = KERNEL_SIZE };
        int r = drm_call(fd, NOUVEAU_VM_INIT, &v);

        if (r < 0 && r != -EBUSY)
                return r;
        *ret = 0;
        return 0;
}

static int space_look(int fd, uint32_t space) {
        return space == 0 ? 0 : -ENOENT;
}

static int space_free(int fd, uint32_t space) {
        return 0;
}

/* A file in which memory comes first has no such page table ever after. Where it is too late, or the kernel knows none,
 * memory is to be had all the same. */
static int memory_new(int fd, uint64_t size, uint32_t *ret) {
        struct nouveau_gem_new g = { .size = size, .domain = NOUVEAU_VRAM };
        uint32_t space;
        int r;

        (void)space_new(fd, &space);
        r = drm_call(fd, NOUVEAU_GEM_NEW, &g);

        if (r == 0)
                *ret = g.handle;
        return r;
}

static struct nouveau_bind_op op_of(const struct drm_binding *b) {
        struct nouveau_bind_op op = { .address = b->address, .range = b->size };

        op.op = b->what == DRM_BIND_UNMAP ? NOUVEAU_BIND_UNMAP : NOUVEAU_BIND_MAP;
        op.flags = b->what == DRM_BIND_EMPTY ? NOUVEAU_BIND_SPARSE : 0;
        op.handle = b->what == DRM_BIND_MAP ? b->handle : 0;
        op.offset = b->what == DRM_BIND_MAP ? b->offset : 0;
        return op;
}

static int bind(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done) {
        struct nouveau_bind_op *ops = alloc_array(count, sizeof(*ops));
        struct nouveau_vm_bind v = { .count = count, .ops = (uintptr_t)ops };
        int r;

        if (!ops)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++)
                ops[i] = op_of(&list[i]);
        r = drm_call(fd, NOUVEAU_VM_BIND, &v);
        *ret_done = r == 0 ? count : 0;
        alloc_free(ops);
        return r;
}

static bool attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (attrs->pat == 0 && attrs->kind == 0 && attrs->access == 3)
                return true;
        snprintf(why, why_size, "nouveau takes access to read and write, and no other attributes");
        return false;
}

const struct drm_bind_driver drm_bind_nouveau = {
        .name = "nouveau",
        .can = DRM_CAN(MAP) | DRM_CAN(UNMAP) | DRM_CAN(EMPTY),
        .space_new = space_new,
        .space_look = space_look,
        .space_free = space_free,
        .memory_new = memory_new,
        .bind = bind,
        .attrs_ok = attrs_ok,
};
