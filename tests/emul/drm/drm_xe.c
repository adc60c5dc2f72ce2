#include <errno.h>
#include <string.h>

#include "drm_model.h"
#include "proto/uapi/xe.h"

/*
 * xe: several page tables (VMs) a file. What binds is checked whole before it shows.
 *
 * A file's page tables are changed by whoever has a descriptor of it. Who calls matters for VM_CREATE with FAULT (X2),
 * USERPTR (X7) and the descriptor in MADVISE (X9), and for nothing else.
 */
struct xe_vm {
        uint32_t id; /* 0: none */
        uint32_t flags;
        uint64_t mm;
        struct drm_rows rows;
};

struct xe_file {
        struct xe_vm vms[DRM_VMS_MAX];
};

enum { SYSTEM = 0, VRAM = 1 };
#define PAGE    4096ull
#define VA_BITS 48

static struct xe_vm *find_vm(const struct drm_file *f, uint32_t id) {
        struct xe_file *x = f->own;

        return id - 1 < DRM_VMS_MAX && x->vms[id - 1].id ? &x->vms[id - 1] : NULL;
}

const struct drm_rows *xe_vm_rows(const struct drm_file *f, uint32_t vm) {
        struct xe_vm *v = find_vm(f, vm);

        return v ? &v->rows : NULL;
}

static void file_fini(struct drm_file *f) {
        struct xe_file *x = f->own;

        for (unsigned i = 0; i < DRM_VMS_MAX; i++)
                rows_clear(&x->vms[i].rows);
}

/* ---- questions ---- */

static int answer(const struct drm_caller *c, struct xe_device_query *q, const void *bytes, size_t size) {
        if (q->size == 0 && drm_rule("X10")) {
                q->size = (uint32_t)size;
                return 0;
        }
        return q->size == size ? c->write(c->userdata, q->data, bytes, size) : -EINVAL;
}

static int query_regions(const struct drm_card *card, const struct drm_caller *c, struct xe_device_query *q) {
        uint64_t buffer[1 + 2 * sizeof(struct xe_mem_region) / 8] = { 0 };
        struct xe_query_mem_regions *all = (void *)buffer;

        all->count = card->vram ? 2 : 1;
        all->regions[SYSTEM] = (struct xe_mem_region){ .class_ = XE_REGION_SYSTEM, .min_page = PAGE };
        all->regions[SYSTEM].total = card->system;
        if (card->vram) {
                all->regions[VRAM] = (struct xe_mem_region){ .class_ = XE_REGION_VRAM, .instance = VRAM };
                all->regions[VRAM].min_page = PAGE;
                all->regions[VRAM].total = all->regions[VRAM].visible = card->vram;
                all->regions[VRAM].used = card->vram_used;
        }
        return answer(c, q, all, sizeof(*all) + all->count * sizeof(all->regions[0]));
}

static int query_config(const struct drm_card *card, const struct drm_caller *c, struct xe_device_query *q) {
        uint64_t buffer[1 + XE_CONFIG_COUNT] = { 0 };
        struct xe_query_config *all = (void *)buffer;

        all->count = XE_CONFIG_COUNT;
        all->info[XE_CONFIG_DEVICE] = 0xe20b;
        all->info[XE_CONFIG_FLAGS] = card->vram ? XE_CONFIG_HAS_VRAM : 0;
        all->info[XE_CONFIG_ALIGNMENT] = PAGE;
        all->info[XE_CONFIG_VA_BITS] = VA_BITS;
        return answer(c, q, all, sizeof(buffer));
}

static int device_query(struct drm_file *f, const struct drm_caller *c, struct xe_device_query *q) {
        if (q->extensions || q->reserved[0] || q->reserved[1])
                return -EINVAL;
        switch (q->query) {
        case XE_QUERY_MEM_REGIONS: return query_regions(f->card, c, q);
        case XE_QUERY_CONFIG: return query_config(f->card, c, q);
        default: return -EINVAL;
        }
}

/* ---- memory and page tables ---- */

static int gem_create(struct drm_file *f, struct xe_gem_create *g) {
        uint32_t known = f->card->vram ? 1u << SYSTEM | 1u << VRAM : 1u << SYSTEM;
        struct drm_object *o;
        int r;

        if (g->extensions || g->handle || !g->size || g->size % PAGE || !g->placement || (g->placement & ~known))
                return -EINVAL;
        if (g->cpu_caching != XE_CACHING_WRITE_BACK && g->cpu_caching != XE_CACHING_WRITE_COMBINED)
                return -EINVAL;
        if ((g->placement & 1u << VRAM) && g->cpu_caching != XE_CACHING_WRITE_COMBINED)
                return -EINVAL;
        if (g->vm_id && !find_vm(f, g->vm_id))
                return -ENOENT;
        r = drm_object_new(&o, f->card, g->size, g->placement == 1u << VRAM);
        if (r < 0)
                return r;
        o->placement = g->placement;
        o->vm = g->vm_id;
        return drm_handle_new(f, o, &g->handle);
}

static int vm_create(struct drm_file *f, const struct drm_caller *c, struct xe_vm_create *v) {
        struct xe_file *x = f->own;

        if (v->extensions || v->vm_id || (v->flags & ~(XE_VM_SCRATCH | XE_VM_LR | XE_VM_FAULT)) ||
            ((v->flags & XE_VM_FAULT) && !(v->flags & XE_VM_LR) && drm_rule("X1")))
                return -EINVAL;
        for (uint32_t i = 0; i < DRM_VMS_MAX; i++)
                if (!x->vms[i].id) {
                        x->vms[i] = (struct xe_vm){ .id = i + 1, .flags = v->flags, .mm = c->mm };
                        v->vm_id = i + 1;
                        return 0;
                }
        return -ENOMEM;
}

static int vm_destroy(struct drm_file *f, const struct xe_vm_destroy *d) {
        struct xe_vm *v = find_vm(f, d->vm_id);

        if (d->pad)
                return -EINVAL;
        if (!v)
                return -ENOENT;
        rows_clear(&v->rows);
        *v = (struct xe_vm){ 0 };
        return 0;
}

/* ---- binding ---- */

struct binding {
        struct drm_file *file;
        const struct drm_caller *caller;
        const struct xe_vm *vm;
        struct drm_rows *rows;
};

static bool range_ok(const struct xe_bind_op *b) {
        return b->range && b->range % PAGE == 0 && b->address % PAGE == 0 && b->address + b->range > b->address &&
               b->address + b->range <= 1ull << VA_BITS;
}

static struct drm_row row_of(const struct binding *x, const struct xe_bind_op *b) {
        return (struct drm_row){
                .start = b->address, .end = b->address + b->range, .offset = b->offset, .flags = b->flags, .pat = b->pat
        };
}

static int put(const struct binding *x, const struct drm_row *row) {
        int r = drm_rule("X3") || !rows_overlap(x->rows, row->start, row->end) ? rows_cut(x->rows, row->start, row->end)
                                                                               : -EINVAL;

        return r == 0 ? rows_add(x->rows, row) : r;
}

static int bind_object(const struct binding *x, const struct xe_bind_op *b, struct drm_row *row) {
        struct drm_object *o = drm_handle(x->file, b->object);

        if (!o)
                return -ENOENT;
        if (b->offset % PAGE || b->offset > o->size || b->range > o->size - b->offset)
                return -EINVAL;
        if (o->vm && o->vm != x->vm->id && drm_rule("X12"))
                return -EINVAL;
        row->object = o;
        return put(x, row);
}

static int bind_map(const struct binding *x, const struct xe_bind_op *b) {
        struct drm_row row = row_of(x, b);

        if (!(b->flags & (XE_BIND_NULL | XE_BIND_CPU_MIRROR)))
                return bind_object(x, b, &row);
        if (b->object || b->offset ||
            ((b->flags & XE_BIND_CPU_MIRROR) && !(x->vm->flags & XE_VM_FAULT) && drm_rule("X6")))
                return -EINVAL;
        row.kind = b->flags & XE_BIND_CPU_MIRROR ? ROW_MIRROR : ROW_NULL;
        row.mm = row.kind == ROW_MIRROR ? (drm_rule("X2") ? x->vm->mm : x->caller->mm) : 0;
        return put(x, &row);
}

static int bind_userptr(const struct binding *x, const struct xe_bind_op *b) {
        struct drm_row row = row_of(x, b);

        if (b->object || b->offset % PAGE)
                return -EINVAL;
        row.kind = ROW_USERPTR;
        row.mm = drm_rule("X7") ? x->caller->mm : x->vm->mm;
        return put(x, &row);
}

static int bind_prefetch(const struct binding *x, const struct xe_bind_op *b) {
        uint32_t regions = x->file->card->vram ? 2 : 1;

        if (b->object || b->offset || (b->prefetch_region >= regions && b->prefetch_region != XE_PREFETCH_AS_ADVISED))
                return -EINVAL;
        for (struct drm_row *row = rows_from(x->rows, b->address);
             row && row < x->rows->row + x->rows->count && row->start < b->address + b->range; row++) {
                uint32_t advised = row->advice.device_fd == XE_PREFERRED_SYSTEM || regions == 1 ? SYSTEM : VRAM;

                if (b->prefetch_region == XE_PREFETCH_AS_ADVISED && row->kind != ROW_MIRROR && drm_rule("X8"))
                        return -EINVAL;
                row->region = 1 + (b->prefetch_region == XE_PREFETCH_AS_ADVISED ? advised : b->prefetch_region);
        }
        return 0;
}

static int bind_one(const struct binding *x, const struct xe_bind_op *b) {
        struct drm_object *o;

        if (b->extensions || b->op >= XE_BINDS_END || (b->flags & ~XE_BIND_FLAGS) || b->pad || b->pad2)
                return -EINVAL;
        if (b->op == XE_BIND_UNMAP_ALL) {
                o = drm_handle(x->file, b->object);
                if (!o || b->range || b->address)
                        return o ? -EINVAL : -ENOENT;
                if (drm_rule("X13"))
                        rows_remove_object(x->rows, o);
                return 0;
        }
        if (!range_ok(b))
                return -EINVAL;
        switch (b->op) {
        case XE_BIND_MAP: return bind_map(x, b);
        case XE_BIND_USERPTR: return bind_userptr(x, b);
        case XE_BIND_PREFETCH: return bind_prefetch(x, b);
        default: return b->object ? -EINVAL : rows_cut(x->rows, b->address, b->address + b->range);
        }
}

static int get_op(const struct drm_caller *c, const struct xe_vm_bind *v, uint32_t i, struct xe_bind_op *ret) {
        if (v->count > 1)
                return c->read(c->userdata, v->vector + i * sizeof(*ret), ret, sizeof(*ret));
        *ret = v->bind;
        return 0;
}

static int vm_bind(struct drm_file *f, const struct drm_caller *c, const struct xe_vm_bind *v) {
        struct drm_rows rows;
        struct binding x = { f, c, find_vm(f, v->vm_id), &rows };
        struct xe_bind_op op;
        int r;

        if (v->extensions || v->pad || v->pad2 || v->count == 0)
                return -EINVAL;
        if (!x.vm)
                return -ENOENT;
        if (v->count > f->card->binds_max && drm_rule("X5"))
                return -ENOBUFS;
        r = rows_copy(&rows, &x.vm->rows);
        for (uint32_t i = 0; i < v->count && r == 0; i++) {
                r = get_op(c, v, i, &op);
                if (r == 0)
                        r = bind_one(&x, &op);
        }
        if (r < 0 && drm_rule("X4")) {
                rows_clear(&rows);
                return r;
        }
        f->card->binds += r < 0 ? 0 : v->count;
        rows_clear(&find_vm(f, v->vm_id)->rows);
        find_vm(f, v->vm_id)->rows = rows;
        return r;
}

/* ---- advice ---- */

static int check_preferred(const struct drm_file *f, const struct drm_caller *c, const struct xe_madvise *m) {
        struct drm_foreign foreign = { 0 };
        int r;

        if (m->preferred.policy > 1)
                return -EINVAL;
        if (m->preferred.device_fd == XE_PREFERRED_LOCAL || m->preferred.device_fd == XE_PREFERRED_SYSTEM)
                return 0;
        r = c->identify ? c->identify(c->userdata, m->preferred.device_fd, &foreign) : -EBADF;
        if (r < 0 || !foreign.device)
                return r < 0 ? r : -EINVAL;
        return f->card->fast_link || !drm_rule("X9") ? 0 : -ENOLINK;
}

static void advise(struct drm_advice *a, const struct xe_madvise *m) {
        if (m->type == XE_ADVISE_PREFERRED) {
                a->device_fd = m->preferred.device_fd;
                a->policy = m->preferred.policy;
        } else if (m->type == XE_ADVISE_ATOMIC) {
                a->atomic = m->number.value;
        } else {
                a->pat = m->number.value;
        }
}

static int madvise(struct drm_file *f, const struct drm_caller *c, const struct xe_madvise *m) {
        struct xe_vm *v = find_vm(f, m->vm_id);
        uint64_t end = m->start + m->range;
        int r;

        if (!v)
                return -ENOENT;
        if (m->extensions || m->type > XE_ADVISE_PAT || !m->range || m->range % PAGE || m->start % PAGE ||
            end < m->start || (!(v->flags & XE_VM_FAULT) && drm_rule("X16")) ||
            (m->type == XE_ADVISE_ATOMIC && m->number.value > XE_ATOMIC_CPU))
                return -EINVAL;
        r = m->type == XE_ADVISE_PREFERRED ? check_preferred(f, c, m) : 0;
        if (r == 0)
                r = rows_split(&v->rows, m->start);
        if (r == 0)
                r = rows_split(&v->rows, end);
        for (size_t i = 0; i < v->rows.count && r == 0; i++)
                if (v->rows.row[i].start >= m->start && v->rows.row[i].end <= end && v->rows.row[i].kind == ROW_MIRROR)
                        advise(&v->rows.row[i].advice, m);
        return r;
}

static int range_attrs(struct drm_file *f, const struct drm_caller *c, struct xe_query_range_attrs *q) {
        struct xe_vm *v = find_vm(f, q->vm_id);
        uint64_t end = q->start + q->range;
        uint32_t count = 0;
        int r = 0;

        if (!v)
                return -ENOENT;
        if (q->extensions || !q->range || q->range % PAGE || q->start % PAGE ||
            (q->count && q->attr_size != sizeof(struct xe_range_attr)))
                return -EINVAL;
        for (size_t i = 0; i < v->rows.count && r == 0; i++) {
                const struct drm_row *row = &v->rows.row[i];
                struct xe_range_attr a = { .start = row->start > q->start ? row->start : q->start,
                                           .end = row->end < end ? row->end : end,
                                           .device_fd = row->advice.device_fd,
                                           .policy = row->advice.policy,
                                           .atomic = row->advice.atomic,
                                           .pat = row->kind == ROW_MIRROR ? row->advice.pat : row->pat };

                if (a.start >= a.end)
                        continue;
                if (q->count && count == q->count)
                        return drm_rule("X14") ? -ENOSPC : 0;
                if (q->count)
                        r = c->write(c->userdata, q->vector + count * sizeof(a), &a, sizeof(a));
                count++;
        }
        q->count = count;
        q->attr_size = sizeof(struct xe_range_attr);
        return r;
}

static int xe_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg, unsigned size) {
        switch (nr) {
        case _IOC_NR(XE_DEVICE_QUERY): return device_query(f, c, arg);
        case _IOC_NR(XE_GEM_CREATE): return gem_create(f, arg);
        case _IOC_NR(XE_VM_CREATE): return vm_create(f, c, arg);
        case _IOC_NR(XE_VM_DESTROY): return vm_destroy(f, arg);
        case _IOC_NR(XE_VM_BIND): return vm_bind(f, c, arg);
        case _IOC_NR(XE_MADVISE): return madvise(f, c, arg);
        case _IOC_NR(XE_QUERY_MEM_RANGE_ATTRS): return range_attrs(f, c, arg);
        default: return -EINVAL;
        }
}

/* Rows hold what they show. */
static void closed(struct drm_file *f, struct drm_object *o) {
        struct xe_file *x = f->own;

        for (unsigned i = 0; i < DRM_VMS_MAX && !drm_rule("X11"); i++)
                rows_remove_object(&x->vms[i].rows, o);
}

const struct drm_driver drm_driver_xe = {
        .name = "xe",
        .description = "Intel Xe2 Graphics",
        .major = 1,
        .minor = 1,
        .file_size = sizeof(struct xe_file),
        .file_fini = file_fini,
        .ioctl = xe_ioctl,
        .closed = closed,
};
