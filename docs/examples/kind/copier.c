#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/kinds.h"
#include "backend/memfile.h"
#include "backend/soft/pagetable.h"
#include "base/alloc.h"
#include "core/imap.h"
#include "proto/status.h"

/*
 * A copy engine with memory of its own: page tables, and operations that fill and copy. It is so fast, and its
 * operations so short, that submit() does them at once: it has no thread, so it needs no lock.
 */
enum { OP_MAX = 1 << 20 };

struct device {
        device_done_fn done;
        void *userdata;
        uint64_t ops;
        char data[64 << 10];
};

struct device_space {
        struct device *device;
        struct pagetable table;
        struct imap sparse;
};

/* ---- operations ---- */

static unsigned fail(struct device_result *result, unsigned code, uint64_t va, bool write, const char *what) {
        result->address = va;
        result->write = write;
        snprintf(result->text, sizeof(result->text), "0x%" PRIx64 " %s", va, what);
        return result->code = code;
}

/* What lies in one piece at `va`, at most *size, from or to `data`. */
static unsigned transfer(struct device_space *s, uint64_t va, uint64_t *size, char *data, bool write,
                         struct device_result *result) {
        enum sparse_writes sparse = (enum sparse_writes)imap_get(&s->sparse, va);
        uint64_t n, left = PAGETABLE_PAGE - va % PAGETABLE_PAGE;
        struct pte pte;
        int r = 0;

        n = pagetable_run(&s->table, va, *size, &pte);
        if (n == 0 && (sparse == SPARSE_NONE || (write && sparse == SPARSE_WRITES_REFUSED)))
                return fail(result, SVMD_STATUS_NOT_MAPPED, va, write, "shows no memory");
        if (n > 0 && !(pte.attrs.access & (write ? 2 : 1)))
                return fail(result, SVMD_STATUS_ACCESS, va, write, "is not mapped for that");
        if (n > 0)
                r = write ? memfile_write(pte.slot, pte.offset, data, n) : memfile_read(pte.slot, pte.offset, data, n);
        else if (!write)
                memset(data, 0, *size);
        if (r < 0)
                return fail(result, SVMD_STATUS_SYSTEM, va, write, strerror(-r));
        *size = n > 0 ? n : *size < left ? *size : left;
        return SVMD_STATUS_OK;
}

static unsigned run(struct device_space *s, const struct device_op *op, struct device_result *result) {
        char *data = s->device->data;
        unsigned code = SVMD_STATUS_OK;
        uint64_t n;

        if (op->type != DEVICE_COPY && op->type != DEVICE_FILL)
                return fail(result, SVMD_STATUS_INVALID, op->dst, true, "is asked for what a copier cannot do");
        if (op->size > OP_MAX)
                return fail(result, SVMD_STATUS_SIZE, op->dst, true, "is asked for more than 1 MiB at once");
        for (uint64_t at = 0; code == SVMD_STATUS_OK && at < op->size; at += n) {
                n = op->size - at < sizeof(s->device->data) ? op->size - at : sizeof(s->device->data);
                if (op->type == DEVICE_COPY)
                        code = transfer(s, op->src + at, &n, data, false, result);
                else
                        memset(data, (int)op->value, n);
                if (code == SVMD_STATUS_OK)
                        code = transfer(s, op->dst + at, &n, data, true, result);
        }
        return code;
}

static int submit(struct device_space *s, const struct device_op *op) {
        struct device_result result = { .fence = op->fence, .code = SVMD_STATUS_OK };
        struct device *d = s->device;

        d->ops += run(s, op, &result) == SVMD_STATUS_OK;
        d->done(d->userdata, &result);
        return 0;
}

/* ---- the device and its spaces ---- */

static int device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        struct device *d = alloc_zero(sizeof(*d));

        if (!d)
                return -ENOMEM;
        d->done = done;
        d->userdata = userdata;
        *ret = d;
        return 0;
}

static void device_free(struct device *d) {
        alloc_free(d);
}

static uint64_t ops_done(const struct device *d) {
        return d->ops;
}

static int space_new(struct device *d, struct device_space **ret) {
        struct device_space *s = alloc_zero(sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->device = d;
        imap_init(&s->sparse);
        *ret = s;
        return 0;
}

static void space_free(struct device_space *s) {
        if (!s)
                return;
        pagetable_fini(&s->table);
        imap_clear(&s->sparse);
        alloc_free(s);
}

/* ---- translation ---- */

static bool attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if ((attrs->access == 0 || attrs->access == 1 || attrs->access == 3) && !attrs->pat && !attrs->kind)
                return true;
        snprintf(why, why_size, "a copier knows access 0, 1 (read) and 3 (read and write), and neither pat nor kind");
        return false;
}

/* Tables stay once they are made, so only the first map of a range can fail. */
static int map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
               struct map_attrs attrs) {
        uint64_t size = 0;
        int r;

        for (uint32_t i = 0; i < count; i++)
                size += extents[i].size;
        r = pagetable_reserve(&s->table, va, size);
        for (uint32_t i = 0; r == 0 && i < count; va += extents[i++].size)
                pagetable_set(&s->table, va, extents[i].size, extents[i].slot, extents[i].offset, attrs);
        return r;
}

static void unmap(struct device_space *s, uint64_t va, uint64_t size) {
        pagetable_clear(&s->table, va, size);
}

static void protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs) {
        pagetable_protect(&s->table, va, size, attrs);
}

static void sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                   struct imap_spare *spare) {
        imap_set_with(&s->sparse, spare, va, va + size, writes);
}

static void translate(struct device_space *s, uint64_t va, struct device_translation *ret) {
        struct pte pte;

        *ret = (struct device_translation){ .sparse = imap_get(&s->sparse, va) != SPARSE_NONE };
        if (pagetable_run(&s->table, va, 1, &pte) > 0)
                *ret = (struct device_translation){ true, false, pte.attrs, pte.slot, pte.offset };
}

const struct backend backend_copier = {
        .kind = 100,
        .name = "copier",
        .device = "copier:",
        .example = "copier:0",
        .granularity = PAGETABLE_PAGE,
        .has_spaces = true,
        .device_new = device_new,
        .device_free = device_free,
        .ops_done = ops_done,
        .space_new = space_new,
        .space_free = space_free,
        .attrs_ok = attrs_ok,
        .map = map,
        .unmap = unmap,
        .protect = protect,
        .sparse = sparse,
        .translate = translate,
        .submit = submit,
};
