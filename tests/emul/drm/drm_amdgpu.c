#include <amdgpu_drm.h>
#include <errno.h>
#include <string.h>

#include "drm_model.h"
#include "proto/uapi/amdgpu.h"

/* amdgpu: an open file is one page table, and whoever calls changes it. */
struct amdgpu_file {
        struct drm_rows rows;
};

#define PAGE  4096ull
#define FIRST 0x10000ull
#define HOLE  (1ull << 47)

const struct drm_rows *amdgpu_rows(const struct drm_file *f) {
        return &((struct amdgpu_file *)f->own)->rows;
}

static struct drm_rows *rows_of(struct drm_file *f) {
        return &((struct amdgpu_file *)f->own)->rows;
}

static void file_fini(struct drm_file *f) {
        rows_clear(rows_of(f));
}

static int gem_create(struct drm_file *f, struct amdgpu_gem_create *g) {
        uint64_t size = (g->size + PAGE - 1) / PAGE * PAGE, domains = g->domains;
        struct drm_object *o;
        uint32_t handle;
        int r;

        if (!size || !domains || (domains & ~(uint64_t)(AMDGPU_CPU | AMDGPU_GTT | AMDGPU_VRAM)))
                return -EINVAL;
        r = drm_object_new(&o, f->card, size, domains == AMDGPU_VRAM);
        if (r < 0)
                return r;
        o->placement = (uint32_t)domains;
        r = drm_handle_new(f, o, &handle);
        if (r < 0)
                return r;
        *g = (struct amdgpu_gem_create){ .handle = handle };
        return 0;
}

/* ---- mappings ---- */

static bool range_ok(const struct amdgpu_gem_va *v) {
        uint64_t end = v->address + v->size;

        return v->size && v->size % PAGE == 0 && v->address % PAGE == 0 && v->offset % PAGE == 0 && end > v->address &&
               ((v->address >= FIRST && (end <= HOLE || v->address >= -HOLE)) || !drm_rule("A5"));
}

static int put(struct drm_rows *rows, struct drm_object *o, const struct amdgpu_gem_va *v) {
        struct drm_row row = { .start = v->address,
                               .end = v->address + v->size,
                               .offset = v->offset,
                               .kind = o ? ROW_OBJECT : ROW_NULL,
                               .object = o,
                               .flags = v->flags };

        if (o && (v->offset > o->size || v->size > o->size - v->offset))
                return -EINVAL;
        return rows_add(rows, &row);
}

static int map(struct drm_rows *rows, struct drm_object *o, const struct amdgpu_gem_va *v) {
        return rows_overlap(rows, v->address, v->address + v->size) && drm_rule("A1") ? -EINVAL : put(rows, o, v);
}

static int replace(struct drm_rows *rows, struct drm_object *o, const struct amdgpu_gem_va *v) {
        int r;

        if (o && (v->offset > o->size || v->size > o->size - v->offset))
                return -EINVAL;
        r = drm_rule("A2") ? rows_cut(rows, v->address, v->address + v->size) : 0;
        return r == 0 ? put(rows, o, v) : r;
}

/* The mapping of that object which begins there goes, all of it. */
static int unmap(struct drm_rows *rows, const struct drm_object *o, const struct amdgpu_gem_va *v) {
        const struct drm_row *row = rows_from(rows, v->address);

        if (!row || ((row->start != v->address || row->object != o) && drm_rule("A4")))
                return -ENOENT;
        rows_remove(rows, (size_t)(row - rows->row));
        return 0;
}

static int gem_va(struct drm_file *f, const struct amdgpu_gem_va *v) {
        uint32_t known =
                AMDGPU_PAGE_READ | AMDGPU_PAGE_WRITE | AMDGPU_PAGE_EXECUTE | AMDGPU_PAGE_SPARSE | AMDGPU_MTYPE_MASK;
        bool objectless = v->op == AMDGPU_VA_CLEAR || (v->flags & AMDGPU_PAGE_SPARSE);
        struct drm_object *o = objectless ? NULL : drm_handle(f, v->handle);

        if (!range_ok(v) || (v->flags & ~known))
                return -EINVAL;
        if (!objectless && !o)
                return -ENOENT;
        f->card->binds++;
        switch (v->op) {
        case AMDGPU_VA_MAP: return map(rows_of(f), o, v);
        case AMDGPU_VA_UNMAP: return unmap(rows_of(f), o, v);
        case AMDGPU_VA_CLEAR: return drm_rule("A3") ? rows_cut(rows_of(f), v->address, v->address + v->size) : 0;
        case AMDGPU_VA_REPLACE: return replace(rows_of(f), o, v);
        default: return -EINVAL;
        }
}

static void closed(struct drm_file *f, struct drm_object *o) {
        if (drm_rule("A6"))
                rows_remove_object(rows_of(f), o);
}

/* What libdrm_amdgpu asks before it uses a device; all else is zero. */
static int info(const struct drm_caller *c, const struct drm_amdgpu_info *q) {
        struct drm_amdgpu_info_device device = { .family = 141,
                                                 .num_shader_engines = 1,
                                                 .num_shader_arrays_per_engine = 1,
                                                 .virtual_address_offset = 0x200000,
                                                 .virtual_address_max = HOLE,
                                                 .virtual_address_alignment = PAGE,
                                                 .pte_fragment_size = 2 << 20,
                                                 .gart_page_size = PAGE };
        uint32_t works = 1;
        char none[1024] = "";
        const void *from = q->query == AMDGPU_INFO_DEV_INFO        ? (const void *)&device
                           : q->query == AMDGPU_INFO_ACCEL_WORKING ? (const void *)&works
                                                                   : none;
        size_t size = from == &device ? sizeof(device) : from == &works ? sizeof(works) : sizeof(none);

        return c->write(c->userdata, q->return_pointer, from, q->return_size < size ? q->return_size : size);
}

/* ---- placement and audit ---- */

static int mappings(struct drm_file *f, const struct drm_caller *c, const struct drm_object *o,
                    struct amdgpu_gem_op_long *op) {
        const struct drm_rows *rows = rows_of(f);
        uint32_t count = 0;
        int r = 0;

        for (size_t i = 0; i < rows->count && r == 0; i++) {
                const struct drm_row *row = &rows->row[i];
                struct amdgpu_mapping m = { row->start, row->end - row->start, row->offset, row->flags };

                if (row->object != o)
                        continue;
                if (count < op->count)
                        r = c->write(c->userdata, op->op.value + count * sizeof(m), &m, sizeof(m));
                count++;
        }
        op->count = count;
        return r;
}

static int gem_op(struct drm_file *f, const struct drm_caller *c, struct amdgpu_gem_op_long *op, unsigned size) {
        struct drm_object *o = drm_handle(f, op->op.handle);

        if (!o)
                return -ENOENT;
        if (op->op.op == AMDGPU_OP_PLACEMENT) {
                if (!op->op.value || (op->op.value & ~(uint64_t)(AMDGPU_CPU | AMDGPU_GTT | AMDGPU_VRAM)))
                        return -EINVAL;
                if (drm_rule("A7"))
                        o->placement = (uint32_t)op->op.value;
                return 0;
        }
        if (op->op.op == AMDGPU_OP_MAPPINGS && f->card->audits && (size >= sizeof(*op) || !drm_rule("A9")))
                return mappings(f, c, o, op);
        return -EINVAL;
}

static int list_handles(struct drm_file *f, const struct drm_caller *c, struct amdgpu_list_handles *l) {
        uint32_t count = 0;
        int r = 0;

        if (!f->card->audits && drm_rule("A8"))
                return -EINVAL;
        for (uint32_t i = 0; i < DRM_HANDLES_MAX && r == 0; i++) {
                const struct drm_object *o = f->handles[i];
                struct amdgpu_handle h = { .handle = i + 1 };

                if (!o)
                        continue;
                h.size = o->size;
                h.domains = o->placement;
                h.imported = o->identity != 0;
                if (count < l->count)
                        r = c->write(c->userdata, l->entries + count * sizeof(h), &h, sizeof(h));
                count++;
        }
        l->count = count;
        return r;
}

static int amdgpu_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg, unsigned size) {
        switch (nr) {
        case _IOC_NR(DRM_IOCTL_AMDGPU_INFO): return info(c, arg);
        case _IOC_NR(AMDGPU_GEM_CREATE): return gem_create(f, arg);
        case _IOC_NR(AMDGPU_GEM_VA): return gem_va(f, arg);
        case _IOC_NR(AMDGPU_GEM_OP): return gem_op(f, c, arg, size);
        case _IOC_NR(AMDGPU_LIST_HANDLES): return list_handles(f, c, arg);
        default: return -EINVAL;
        }
}

const struct drm_driver drm_driver_amdgpu = {
        .name = "amdgpu",
        .description = "AMD GPU",
        .major = 3,
        .minor = 59,
        .file_size = sizeof(struct amdgpu_file),
        .file_fini = file_fini,
        .ioctl = amdgpu_ioctl,
        .closed = closed,
};
