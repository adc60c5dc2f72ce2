#include "backend/soft/span.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/memfile.h"
#include "backend/soft/range.h"
#include "proto/status.h"

enum progress run_fail(const struct run *run, unsigned code, const char *format, ...) {
        struct device_result *result = run->result;
        va_list args;
        int n;

        n = snprintf(result->text, sizeof(result->text), "%s: ", run->space->device->name);
        va_start(args, format);
        vsnprintf(result->text + n, sizeof(result->text) - (size_t)n, format, args);
        va_end(args);
        result->code = code;
        result->value = 0;
        return OP_FAILED;
}

static const char *access_name(bool write) {
        return write ? "write to" : "read of";
}

enum progress span_fail_access(const struct run *run, uint64_t va, bool write, unsigned code, const char *why) {
        run->result->address = va;
        run->result->write = write;
        return run_fail(run, code, "%s 0x%" PRIx64 ": %s", access_name(write), va, why);
}

static enum progress fail_unmapped(const struct run *run, uint64_t va, bool write) {
        return span_fail_access(
                run, va, write, SVMD_STATUS_NOT_MAPPED,
                run->space->device->faults
                        ? "nothing is mapped there in this space; map it first (explicit memory is never "
                          "faulted in)"
                        : "nothing is mapped there in this space, and this node has no faults: prefetch or "
                          "map first");
}

enum progress run_fail_system(const struct run *run, const struct span *span, int error) {
        run->result->address = span->va;
        run->result->write = span->write;
        return run_fail(run, SVMD_STATUS_SYSTEM, "%s 0x%" PRIx64 ": the memory file refused it: %s; see svmd's log",
                        access_name(span->write), span->va, strerror(-error));
}

static void place(struct span *span, uint32_t slot, uint64_t offset) {
        char *base = memfile_base(slot);

        span->kind = base ? SPAN_DIRECT : memfile_is_client(slot) ? SPAN_CLIENT : SPAN_FILE;
        span->p = base ? base + offset : NULL;
        span->slot = slot;
        span->offset = offset;
}

/* ---- managed -------------------------------------------------------------------------------------------- */

/* Up to the granule's end, or to what is mapped over it. */
static uint64_t managed_size(const struct run *run, const struct device_range *r, uint64_t va, uint64_t max) {
        uint64_t left = r->granule - (va - r->address) % r->granule;

        return pagetable_gap(&run->space->table, va, left < max ? left : max);
}

uint64_t span_asked(const struct run *run, uint64_t va, uint64_t max) {
        const struct soft_view *view = views_find(&run->space->views, va);
        uint64_t size;
        struct pte pte;

        if (!view && !run->space->client)
                return 0;
        size = pagetable_run(&run->space->table, va, max < SOFT_CHUNK ? max : SOFT_CHUNK, &pte);
        if (size > 0)
                return memfile_is_client(pte.slot) ? size : 0;
        if (!view)
                return 0;
        return managed_size(run, view->range, va, max);
}

/* The space is unlocked. */
static void end(struct device_space *s, const struct device_range *r, uint32_t granule) {
        r->faults->end(r->range, granule);
        soft_lock(s);
        soft_unused(s);
}

static void drop_given(struct device_space *s) {
        struct soft_ask *ask = &s->ask;

        if (!ask->given)
                return;
        ask->given = false;
        soft_unlock(s);
        end(s, ask->range, ask->granule);
}

void run_settle(const struct run *run) {
        drop_given(run->space);
        soft_client_settle(run->space);
}

void soft_give_back(struct device_space *s) {
        soft_lock(s);
        if (s->ask.open) {
                s->ask.open = false;
                s->ask.given = s->ask.code == SVMD_STATUS_OK;
                drop_given(s);
                soft_unused(s);
        }
        soft_unlock(s);
}

enum progress run_answered(const struct run *run) {
        struct device_space *s = run->space;
        struct soft_ask *ask = &s->ask;
        const struct soft_view *view;

        if (!ask->open)
                return OP_MORE;
        view = views_find(&s->views, ask->va);
        ask->open = false;
        ask->given = ask->code == SVMD_STATUS_OK;
        if (view && view->range == ask->range && ask->given)
                return OP_MORE;
        if (!view || view->range != ask->range)
                span_fail_access(run, ask->va, ask->write, SVMD_STATUS_NOT_MAPPED,
                                 "the managed range there was taken out of this space meanwhile");
        else
                span_fail_access(run, ask->va, ask->write, ask->code, ask->text);
        drop_given(s);
        soft_unused(s);
        return OP_FAILED;
}

static enum progress ask_for(struct device_space *s, struct device_range *r, uint32_t granule, uint64_t va,
                             bool write) {
        s->ask = (struct soft_ask){ .open = true, .range = r, .granule = granule, .va = va, .write = write };
        soft_lock(s);
        return OP_ASKS;
}

static bool is_given(const struct soft_ask *ask, const struct device_range *r, uint32_t granule, bool write) {
        return ask->given && ask->range == r && ask->granule == granule && ask->write >= write;
}

static uint64_t in_granule(const struct span *span) {
        return (span->va - span->range->address) % span->range->granule;
}

/* What begin() or an answer allows must be what the translation shows. */
static enum progress show(const struct run *run, struct span *span) {
        struct pte pte;

        if (range_look(span->range, span->granule, &pte) && (!span->write || pte.attrs.access & 2)) {
                place(span, pte.slot, pte.offset + in_granule(span));
                return OP_MORE;
        }
        span_fail_access(run, span->va, span->write, SVMD_STATUS_SYSTEM,
                         "svmd allowed it, but does not show the granule to the device; report this bug");
        return span_close(run, span, OP_FAILED);
}

static enum progress open_managed(const struct run *run, const struct soft_view *view, uint64_t va, uint64_t max,
                                  bool write, struct span *ret) {
        struct device_space *s = run->space;
        struct device_range *r = view->range;
        uint32_t granule = (uint32_t)((va - r->address) / r->granule);

        if (write && !view->write)
                return span_fail_access(run, va, write, SVMD_STATUS_ACCESS,
                                        "this session may only read the managed range there");
        *ret = (struct span){ .va = va, .write = write, .range = r, .granule = granule };
        ret->size = managed_size(run, r, va, max);
        if (is_given(&s->ask, r, granule, write)) {
                s->ask.given = false;
                soft_unlock(s);
        } else {
                s->using = r;
                soft_unlock(s);
                if (!r->faults->begin(r->range, granule, r->node, write))
                        return ask_for(s, r, granule, va, write);
        }
        return show(run, ret);
}

/* Another operation may have been given more access meanwhile. */
static bool still_shown(const struct span *span) {
        struct pte now;

        return range_look(span->range, span->granule, &now) && now.slot == span->slot &&
               now.offset + in_granule(span) == span->offset && (!span->write || now.attrs.access & 2);
}

enum progress span_close(const struct run *run, struct span *span, enum progress step) {
        if (!span->range)
                return step;
        if (step == OP_MORE && !still_shown(span))
                step = span_fail_access(run, span->va, span->write, SVMD_STATUS_SYSTEM,
                                        "svmd changed what it shows the device while that was used; report this bug");
        end(run->space, span->range, span->granule);
        span->range = NULL;
        return step;
}

/* ---- all ------------------------------------------------------------------------------------------------ */

/* A page of a sparse range; what follows it may be mapped. */
static enum progress open_sparse(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret) {
        uint64_t writes = imap_get(&run->space->sparse, va), size = PAGETABLE_PAGE - va % PAGETABLE_PAGE;

        if (writes == SPARSE_NONE)
                return fail_unmapped(run, va, write);
        if (write && writes == SPARSE_WRITES_REFUSED)
                return span_fail_access(run, va, write, SVMD_STATUS_ACCESS,
                                        "no memory is there and this sparse range refuses writes; map memory first");
        *ret = (struct span){ .kind = SPAN_VOID, .va = va, .size = size < max ? size : max, .write = write };
        return OP_MORE;
}

static enum progress open_unmapped(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret) {
        const struct soft_view *view = views_find(&run->space->views, va);

        if (!view)
                return open_sparse(run, va, max, write, ret);
        if (run->space->ask.given &&
            !is_given(&run->space->ask, view->range, (uint32_t)((va - view->start) / view->range->granule), write)) {
                drop_given(run->space);
                return span_open(run, va, max, write, ret);
        }
        return open_managed(run, view, va, max, write, ret);
}

enum progress span_open(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret) {
        struct pte pte;
        uint64_t size;

        if (max > SOFT_CHUNK)
                max = SOFT_CHUNK;
        size = pagetable_run(&run->space->table, va, max, &pte);
        if (size == 0)
                return open_unmapped(run, va, max, write, ret);
        if (!(pte.attrs.access & (write ? 2 : 1)))
                return span_fail_access(run, va, write, SVMD_STATUS_ACCESS,
                                        pte.attrs.access
                                                ? "the mapping there is read-only; set its access to read and write"
                                                : "the mapping there allows no access; set its access first");
        *ret = (struct span){ .va = va, .size = size, .write = write };
        place(ret, pte.slot, pte.offset);
        return OP_MORE;
}

enum progress span_read(const struct run *run, uint64_t va, uint64_t max, char *bounce, struct span *ret) {
        enum progress step;
        int r;

        step = span_open(run, va, max, false, ret);
        if (step != OP_MORE || ret->kind == SPAN_DIRECT)
                return step;
        if (ret->kind == SPAN_CLIENT) {
                step = client_read(run, ret, bounce);
                if (step != OP_MORE)
                        return step;
        } else if (ret->kind == SPAN_VOID) {
                memset(bounce, 0, ret->size);
        } else {
                r = memfile_read(ret->slot, ret->offset, bounce, ret->size);
                if (r < 0)
                        return span_close(run, ret, run_fail_system(run, ret, r));
        }
        ret->p = bounce;
        return OP_MORE;
}

enum progress span_write(const struct run *run, const struct span *span, const char *from, uint64_t size) {
        int r;

        if (span->kind == SPAN_DIRECT)
                memmove(span->p, from, size); /* two addresses may show the same memory */
        if (span->kind == SPAN_CLIENT)
                return client_write(run, span, from, size);
        if (span->kind != SPAN_FILE)
                return OP_MORE;
        r = memfile_write(span->slot, span->offset, from, size);
        return r < 0 ? run_fail_system(run, span, r) : OP_MORE;
}
