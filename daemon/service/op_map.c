#include "service/internal.h"

#include <inttypes.h>
#include <string.h>

#include "core/imap.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/dmabuf.h"
#include "service/effects.h"
#include "service/lookup.h"

/* Mappings: of memory into a space or to the CPU, their access and attributes, and sparse ranges under them. */

static struct effect_map effect_of(const struct target *t, uint64_t address, uint64_t size) {
        return (struct effect_map){
                .space = t->space ? t->space->object.id : 0,
                .reservation = t->reservation ? t->reservation->object.id : 0,
                .address = address,
                .size = size,
                .generation = t->reservation ? t->reservation->generation : 0,
        };
}

/* A snapshot must fit where the log did. So an effect that splits what was one mapping is as long as the mappings that
 * it makes more. */
static void tx_effect_map(struct tx *tx, uint16_t type, const struct effect_map *e, uint64_t more) {
        uint8_t bytes[2 * sizeof(*e) + 8] = { 0 };

        memcpy(bytes, e, sizeof(*e));
        tx_effect(tx, type, bytes, more > 1 ? sizeof(bytes) : sizeof(*e));
}

static int refuse_plan(struct call *c, int r, uint64_t at) {
        if (r == PLAN_E_OVERLAP)
                return refuse(c, SVMD_STATUS_TAKEN,
                              "something is mapped at 0x%" PRIx64 " already; unmap it first, or map with REPLACE", at);
        if (r == PLAN_E_NOT_MAPPED)
                return refuse(c, SVMD_STATUS_NOT_MAPPED, "nothing is mapped at 0x%" PRIx64, at);
        return r;
}

static int check_attrs(struct call *c, const struct target *t, const struct map_attrs *attrs, uint32_t pat,
                       uint32_t kind) {
        char why[160];

        if (pat > UINT8_MAX || kind > UINT16_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "pat is at most 255 and kind at most 65535");
        if (t->reservation)
                return pat || kind ? refuse(c, SVMD_STATUS_INVALID,
                                            "pat and kind are attributes of a device's mapping, not of the CPU's")
                                   : 0;
        if (!node_backend(c->svc, t->space->node)->attrs_ok(attrs, why, sizeof(why)))
                return refuse(c, SVMD_STATUS_INVALID, "%s", why);
        return 0;
}

/* Whether this memory can be shown there at all. */
static int check_reach(struct call *c, const struct target *t, const struct memory *m) {
        const struct machine *machine = c->svc->options.machine;

        if (t->reservation && m->registered)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "memory %" PRIu64 " is registered: the process has it mapped already; map it in a space",
                              m->object.id);
        if (t->space && node_backend(c->svc, t->space->node)->delegated && t->space->node != m->node)
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s shows its own memory only, and memory %" PRIu64 " is of %s",
                              machine->nodes[t->space->node].name, m->object.id, machine->nodes[m->node].name);
        if (memory_is_foreign(c->svc, m) && (!t->space || t->space->node != m->node))
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "only %s itself can show its memory: map it in a space of that node",
                              machine->nodes[m->node].name);
        if (m->file->kind == FILE_DMABUF && !memory_is_foreign(c->svc, m) && !dmabuf_is_mappable(c->svc, m))
                return refuse(
                        c, SVMD_STATUS_UNSUPPORTED,
                        "the driver of the dma-buf that memory %" PRIu64
                        " is lets no CPU map it: take it to a device with svmd_mem_export_dmabuf() and import it there",
                        m->object.id);
        if (t->reservation) {
                if (machine->nodes[m->node].kind != NODE_HOST)
                        return refuse(c, SVMD_STATUS_NODE_KIND,
                                      "the CPU cannot map memory of %s; map it in a space of that node",
                                      machine->nodes[m->node].name);
                if (t->reservation->shared && !m->shareable)
                        return refuse(c, SVMD_STATUS_DENIED,
                                      "memory in a named reservation must have been created shareable (MEM_SHAREABLE)");
                return 0;
        }
        if (!machine_reaches(machine, t->space->node, m->node))
                return refuse(c, SVMD_STATUS_NO_LINK,
                              "%s has no direct link to %s; copy the memory to a node that it reaches",
                              machine->nodes[t->space->node].name, machine->nodes[m->node].name);
        return 0;
}

static int check_map(struct call *c, const Svmd__V1__Map *op, const struct holding *h, const struct memory *m) {
        if (op->flags & ~(uint32_t)SVMD__V1__MAP_FLAG__MAP_REPLACE)
                return refuse(c, SVMD_STATUS_INVALID, "svmd knows no map flag 0x%x", op->flags);
        if (op->access & ~h->access)
                return refuse(c, SVMD_STATUS_DENIED, "this session may only read memory %" PRIu64, op->memory);
        if (op->offset % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_ALIGN, "offset %" PRIu64 " is not a multiple of 4 KiB", op->offset);
        if (op->size > m->size || op->offset > m->size - op->size)
                return refuse(c, SVMD_STATUS_RANGE,
                              "%" PRIu64 " bytes at offset %" PRIu64 " pass the end of memory %" PRIu64 " (%" PRIu64
                              " bytes)",
                              op->size, op->offset, op->memory, m->size);
        return 0;
}

static int check_mapping_quota(struct call *c, const struct target *t) {
        if (target_vmap(t)->count < c->svc->options.max_objects_per_session)
                return 0;
        return refuse(c, SVMD_STATUS_QUOTA,
                      "%" PRIu64 " mappings are the most that one space may have (max-objects-per-session)",
                      target_vmap(t)->count);
}

int op_map(struct call *c) {
        const Svmd__V1__Map *op = c->op->map;
        struct map_attrs attrs = { .access = (uint8_t)op->access, .pat = (uint8_t)op->pat, .kind = (uint16_t)op->kind };
        struct effect_map e;
        struct holding *h;
        struct memory *m;
        struct target t;
        uint64_t at = 0, count;
        int r;

        if ((r = find_target(c, op->space, op->address, op->size, &t)) != 0 ||
            (r = find_memory(c, op->memory, &m, &h)) != 0 || (r = check_access(c, op->access)) != 0 ||
            (r = check_map(c, op, h, m)) != 0 || (r = check_reach(c, &t, m)) != 0 ||
            (r = check_attrs(c, &t, &attrs, op->pat, op->kind)) != 0 || (r = check_mapping_quota(c, &t)) != 0)
                return r;
        count = target_vmap(&t)->count;
        r = do_map(c->tx, &t, op->address, op->size, m, op->offset, attrs, op->flags & SVMD__V1__MAP_FLAG__MAP_REPLACE,
                   &at);
        if (r != 0)
                return refuse_plan(c, r, at);
        e = effect_of(&t, op->address, op->size);
        e.memory = m->object.id;
        e.offset = op->offset;
        e.access = attrs.access;
        e.pat = attrs.pat;
        e.kind = attrs.kind;
        count = target_vmap(&t)->count > count ? target_vmap(&t)->count - count : 0;
        tx_effect_map(c->tx, EFFECT_MAP, &e, count);
        return 0;
}

int op_unmap(struct call *c) {
        const Svmd__V1__Unmap *op = c->op->unmap;
        struct effect_map e;
        struct target t;
        int r = find_target(c, op->space, op->address, op->size, &t);

        if (r != 0)
                return r;
        r = do_unmap(c->tx, &t, op->address, op->size, false, NULL);
        if (r != 0)
                return r;
        e = effect_of(&t, op->address, op->size);
        tx_effect(c->tx, EFFECT_UNMAP, &e, sizeof(e));
        return 0;
}

static int protect(struct call *c, const struct target *t, uint64_t address, uint64_t size, struct map_attrs attrs,
                   unsigned which) {
        struct effect_map e;
        uint64_t at = 0, count = target_vmap(t)->count;
        int r = check_mapping_quota(c, t);

        if (r != 0)
                return r;
        r = do_protect(c->tx, t, address, size, attrs, which, &at);
        if (r != 0)
                return refuse_plan(c, r, at);
        e = effect_of(t, address, size);
        e.access = attrs.access;
        e.pat = attrs.pat;
        e.kind = attrs.kind;
        e.which = which;
        tx_effect_map(c->tx, EFFECT_PROTECT, &e, target_vmap(t)->count - count);
        return 0;
}

/* A mapping never gives more than its session's handle on the memory does. */
static int check_grant(struct call *c, const struct target *t, uint64_t address, uint64_t size, uint32_t access) {
        for (struct mapping *e = vmap_first_from(target_vmap(t), address); e && e->va < address + size;
             e = vmap_next(e)) {
                struct holding *h = holding_find(memory_of(e->backing), c->session);
                unsigned may = h ? h->access : e->attrs.access;

                if (access & ~may)
                        return refuse(c, SVMD_STATUS_DENIED,
                                      "this session may not have that access to memory %" PRIu64 " at 0x%" PRIx64,
                                      memory_of(e->backing)->object.id, e->va);
        }
        return 0;
}

int op_set_access(struct call *c) {
        const Svmd__V1__SetAccess *op = c->op->set_access;
        struct map_attrs attrs = { .access = (uint8_t)op->access };
        struct target t;
        int r;

        if ((r = find_target(c, op->space, op->address, op->size, &t)) != 0 || (r = check_access(c, op->access)) != 0 ||
            (r = check_grant(c, &t, op->address, op->size, op->access)) != 0)
                return r;
        return protect(c, &t, op->address, op->size, attrs, ATTR_ACCESS);
}

int op_set_attributes(struct call *c) {
        const Svmd__V1__SetAttributes *op = c->op->set_attributes;
        struct map_attrs attrs = { .pat = (uint8_t)op->pat, .kind = (uint16_t)op->kind };
        struct target t;
        int r;

        if ((r = find_target(c, op->space, op->address, op->size, &t)) != 0 ||
            (r = check_attrs(c, &t, &attrs, op->pat, op->kind)) != 0)
                return r;
        return protect(c, &t, op->address, op->size, attrs, ATTR_PAT | ATTR_KIND);
}

/* ---- sparse ---- */

/* What is set over the whole range; refused where it is not one value. */
static int sparse_now(struct call *c, const struct target *t, uint64_t address, uint64_t size, uint64_t *ret) {
        const struct imap *m = t->space ? &t->space->sparse : t->reservation->sparse;
        struct imap_entry *e = m ? imap_first_from(m, address) : NULL;

        if (!e || e->start >= address + size) {
                *ret = 0;
                return 0;
        }
        if (e->start <= address && e->end >= address + size) {
                *ret = e->value;
                return 0;
        }
        return refuse(c, SVMD_STATUS_TAKEN, "part of the range is sparse already, from 0x%" PRIx64 " to 0x%" PRIx64,
                      e->start, e->end);
}

static int sparse_change(struct call *c, const struct target *t, uint64_t address, uint64_t size, uint64_t from,
                         uint64_t to) {
        struct effect_sparse e = {
                .space = t->space ? t->space->object.id : 0,
                .reservation = t->reservation ? t->reservation->object.id : 0,
                .address = address,
                .size = size,
                .from = from,
                .to = to,
        };
        int r = do_sparse(c->tx, t, address, size, from, to);

        if (r < 0)
                return r;
        tx_effect(c->tx, EFFECT_SPARSE, &e, sizeof(e));
        return 0;
}

int op_sparse_map(struct call *c) {
        const Svmd__V1__SparseMap *op = c->op->sparse_map;
        struct target t;
        uint64_t now;
        int r;

        if ((r = find_target(c, op->space, op->address, op->size, &t)) != 0)
                return r;
        if (op->writes != SVMD__V1__SPARSE_WRITES__SPARSE_DROP && op->writes != SVMD__V1__SPARSE_WRITES__SPARSE_REFUSE)
                return refuse(c, SVMD_STATUS_INVALID, "writes is SPARSE_DROP or SPARSE_REFUSE, not %d",
                              (int)op->writes);
        if (!t.space && op->writes != SVMD__V1__SPARSE_WRITES__SPARSE_REFUSE)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "a CPU's write to a sparse range can only be refused (SPARSE_REFUSE)");
        if ((r = sparse_now(c, &t, op->address, op->size, &now)) != 0)
                return r;
        if (now)
                return refuse(c, SVMD_STATUS_TAKEN, "the range at 0x%" PRIx64 " is sparse already", op->address);
        return sparse_change(c, &t, op->address, op->size, 0, op->writes);
}

int op_sparse_unmap(struct call *c) {
        const Svmd__V1__SparseUnmap *op = c->op->sparse_unmap;
        struct target t;
        uint64_t now;
        int r;

        if ((r = find_target(c, op->space, op->address, op->size, &t)) != 0 ||
            (r = sparse_now(c, &t, op->address, op->size, &now)) != 0)
                return r;
        if (!now)
                return refuse(c, SVMD_STATUS_NOT_MAPPED, "the range at 0x%" PRIx64 " is not sparse", op->address);
        return sparse_change(c, &t, op->address, op->size, now, 0);
}
