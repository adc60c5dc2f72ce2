#include <errno.h>

#include "drm_model.h"
#include "proto/uapi/nouveau.h"

/* nouveau: one page table a file, which programs fill once they have said so, before any memory object. */
struct nouveau_file {
        bool initialised, legacy; /* legacy: an object came first, and so it stays */
        uint64_t kernel_start, kernel_end;
        struct drm_rows rows;
};

#define PAGE 4096ull
#define END  (1ull << 47)

const struct drm_rows *nouveau_rows(const struct drm_file *f) {
        return &((struct nouveau_file *)f->own)->rows;
}

static void file_fini(struct drm_file *f) {
        rows_clear(&((struct nouveau_file *)f->own)->rows);
}

static int getparam(const struct drm_card *card, struct nouveau_getparam *g) {
        switch (g->param) {
        case NOUVEAU_FB_SIZE: g->value = card->vram - (drm_rule("N7") ? card->pinned : 0); return 0;
        case NOUVEAU_VRAM_USED:
                if (!card->tells_used && drm_rule("N8"))
                        return -EINVAL;
                g->value = card->vram_used + card->pinned;
                return 0;
        default: return -EINVAL;
        }
}

static int vm_init(struct nouveau_file *n, const struct nouveau_vm_init *v) {
        uint64_t end = v->kernel_address + v->kernel_size;

        if (n->legacy && drm_rule("N1"))
                return -ENOSYS;
        if (n->initialised && drm_rule("N2"))
                return -EBUSY;
        if (v->kernel_size == 0 || end < v->kernel_address || end > END)
                return -EINVAL;
        n->initialised = true;
        n->kernel_start = v->kernel_address;
        n->kernel_end = end;
        return 0;
}

static int gem_new(struct drm_file *f, struct nouveau_gem_new *g) {
        struct nouveau_file *n = f->own;
        uint64_t size = (g->size + PAGE - 1) / PAGE * PAGE;
        struct drm_object *o;
        int r;

        if (!size || (g->domain & ~(uint32_t)(NOUVEAU_VRAM | NOUVEAU_GART)) || !g->domain)
                return -EINVAL;
        r = drm_object_new(&o, f->card, size, g->domain == NOUVEAU_VRAM);
        if (r < 0)
                return r;
        n->legacy = n->legacy || !n->initialised;
        o->placement = g->domain;
        g->size = size;
        return drm_handle_new(f, o, &g->handle);
}

static bool range_ok(const struct nouveau_file *n, const struct nouveau_bind_op *b) {
        uint64_t end = b->address + b->range;

        return b->range && b->range % PAGE == 0 && b->address % PAGE == 0 && b->offset % PAGE == 0 &&
               end > b->address && end <= END &&
               (end <= n->kernel_start || b->address >= n->kernel_end || !drm_rule("N3"));
}

static int bind_map(struct drm_file *f, struct drm_rows *rows, const struct nouveau_bind_op *b) {
        struct drm_row row = {
                .start = b->address, .end = b->address + b->range, .offset = b->offset, .flags = b->flags
        };
        int r;

        if (b->flags & NOUVEAU_BIND_SPARSE) {
                if (b->handle)
                        return -EINVAL;
                row.kind = ROW_NULL;
        } else {
                row.object = drm_handle(f, b->handle);
                if (!row.object)
                        return -ENOENT;
                if (b->offset > row.object->size || b->range > row.object->size - b->offset)
                        return -EINVAL;
        }
        r = drm_rule("N6") ? rows_cut(rows, row.start, row.end) : 0;
        return r == 0 ? rows_add(rows, &row) : r;
}

static int bind_one(struct drm_file *f, struct drm_rows *rows, const struct nouveau_bind_op *b) {
        if (!range_ok(f->own, b) || (b->flags & ~NOUVEAU_BIND_SPARSE))
                return -EINVAL;
        switch (b->op) {
        case NOUVEAU_BIND_MAP: return bind_map(f, rows, b);
        case NOUVEAU_BIND_UNMAP: return rows_cut(rows, b->address, b->address + b->range);
        default: return -EINVAL;
        }
}

static int vm_bind(struct drm_file *f, const struct drm_caller *c, const struct nouveau_vm_bind *v) {
        struct nouveau_file *n = f->own;
        struct nouveau_bind_op op;
        struct drm_rows rows;
        int r;

        if (!n->initialised && drm_rule("N5"))
                return -ENOSYS;
        if (v->flags & ~NOUVEAU_BIND_ASYNC || v->count == 0)
                return -EINVAL;
        r = rows_copy(&rows, &n->rows);
        for (uint32_t i = 0; i < v->count && r == 0; i++) {
                r = c->read(c->userdata, v->ops + i * sizeof(op), &op, sizeof(op));
                if (r == 0)
                        r = bind_one(f, &rows, &op);
        }
        if (r < 0 && drm_rule("N4")) {
                rows_clear(&rows);
                return r;
        }
        f->card->binds += r < 0 ? 0 : v->count;
        rows_clear(&n->rows);
        n->rows = rows;
        return r;
}

static int nouveau_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg, unsigned size) {
        switch (nr) {
        case _IOC_NR(NOUVEAU_GETPARAM): return getparam(f->card, arg);
        case _IOC_NR(NOUVEAU_VM_INIT): return vm_init(f->own, arg);
        case _IOC_NR(NOUVEAU_VM_BIND): return vm_bind(f, c, arg);
        case _IOC_NR(NOUVEAU_GEM_NEW): return gem_new(f, arg);
        default: return -EINVAL;
        }
}

const struct drm_driver drm_driver_nouveau = {
        .name = "nouveau",
        .description = "nVidia Corporation",
        .major = 1,
        .minor = 4,
        .file_size = sizeof(struct nouveau_file),
        .file_fini = file_fini,
        .ioctl = nouveau_ioctl,
};
