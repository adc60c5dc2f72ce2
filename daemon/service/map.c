#include "service/internal.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/memory.h"
#include "core/reservation.h"
#include "core/space.h"

/*
 * Mappings change in three places that must agree: the vmap (what svmd knows), the device's own page table, and the
 * memory that is shown. One planned step is executed in both before the next, and taken back likewise.
 *
 * The CPU's page tables are the client's: it maps after the reply, and before it asks for an unmap it has unmapped.
 */

/* Extents of a piece of memory for a device; memory in one piece, which is the rule, needs no allocation. */
#define EXTENTS_INLINE 8

struct pieces {
        struct device_extent inlined[EXTENTS_INLINE];
        struct device_extent *extents;
        uint32_t count;
};

static void pieces_add(struct pieces *p, struct device_extent e) {
        p->extents[p->count++] = e;
}

/* The parts of the memory's extents that make up [offset, offset + size). -ENOMEM */
static int pieces_of(struct pieces *p, const struct memory *m, uint64_t offset, uint64_t size, uint32_t slot) {
        const struct va_extent *e;
        uint64_t at = 0;

        p->extents = p->inlined;
        p->count = 0;
        if (m->more_count + 1 > EXTENTS_INLINE)
                p->extents = alloc_array(m->more_count + 1, sizeof(*p->extents));
        if (!p->extents)
                return -ENOMEM;
        for (uint32_t i = 0; size > 0 && (e = memory_extent(m, i)); at += e->size, i++) {
                uint64_t skip, take;

                if (offset >= at + e->size)
                        continue;
                skip = offset - at;
                take = e->size - skip < size ? e->size - skip : size;
                pieces_add(p, (struct device_extent){ slot, e->start - FILE_BASE + skip, take });
                offset += take;
                size -= take;
        }
        return 0;
}

static void pieces_fini(struct pieces *p) {
        if (p->extents != p->inlined)
                alloc_free(p->extents);
}

static int device_map(struct service *svc, struct space *space, uint64_t va, uint64_t size, const struct memory *m,
                      uint64_t offset, struct map_attrs attrs) {
        struct pieces p;
        int r;

        r = pieces_of(&p, m, offset, size, memory_slot(m));
        if (r < 0)
                return r;
        r = node_backend(svc, space->node)->map(space->device_space, va, p.extents, p.count, attrs);
        pieces_fini(&p);
        if (r == 0 && m->away) /* its tables are made, so that showing it when it comes back cannot fail */
                node_backend(svc, space->node)->unmap(space->device_space, va, size);
        return r;
}

/* The same where it was shown before: tables stay, so it cannot fail for lack of one; a scattered piece may still need
 * memory for its list, and is then shown extent by extent. */
static void device_map_again(struct service *svc, struct space *space, uint64_t va, uint64_t size,
                             const struct memory *m, uint64_t offset, struct map_attrs attrs) {
        if (m->away || device_map(svc, space, va, size, m, offset, attrs) == 0)
                return;
        for (uint64_t done = 0; done < size;) {
                struct device_extent e = memory_piece(m, offset + done, size - done);

                node_backend(svc, space->node)->map(space->device_space, va + done, &e, 1, attrs);
                done += e.size;
        }
}

/* One step in the device's table. Only a MAP can fail. */
static int step_do(struct service *svc, struct space *space, const struct step *s) {
        const struct backend *b = node_backend(svc, space->node);

        switch (s->type) {
        case STEP_MAP:
                return device_map(svc, space, s->va, s->size, memory_of(s->mapping->backing),
                                  s->mapping->offset + (s->va - s->mapping->va), s->attrs);
        case STEP_UNMAP:
        case STEP_CUT: b->unmap(space->device_space, s->va, s->size); return 0;
        case STEP_PROTECT: b->protect(space->device_space, s->va, s->size, s->attrs); return 0;
        }
        return 0;
}

/* The way back, after the vmap has gone back. */
static void step_undo(struct service *svc, struct space *space, const struct step *s) {
        const struct backend *b = node_backend(svc, space->node);

        switch (s->type) {
        case STEP_MAP: b->unmap(space->device_space, s->va, s->size); break;
        case STEP_PROTECT: b->protect(space->device_space, s->va, s->size, s->before); break;
        case STEP_UNMAP:
        case STEP_CUT:
                device_map_again(svc, space, s->va, s->size, memory_of(s->mapping->backing),
                                 s->mapping->offset + (s->va - s->mapping->va), s->before);
                break;
        }
}

struct vmap *target_vmap(const struct target *t) {
        return t->space ? &t->space->mappings : &t->reservation->cpu;
}

/* What a run of steps is to a transaction: a is the space or NULL, b the reservation or NULL, n[0] the number of steps,
 * n[1] the generation before. */

static void steps_undo(struct tx *tx, struct change *c) {
        struct target t = { c->a, c->b };
        struct vmap *m = target_vmap(&t);
        struct plan *plan = tx_plan(tx, m);
        uint64_t mappings = m->count;

        for (uint64_t i = 0; i < c->n[0]; i++) {
                struct step s = plan->steps[plan->count - 1];

                plan_revert(plan, m, 1);
                if (t.space)
                        step_undo(tx->svc, t.space, &s);
        }
        tx->svc->state.mappings_count += m->count - mappings;
        if (t.reservation)
                t.reservation->generation = c->n[1];
}

static void steps_commit(struct tx *tx, struct change *c) {
        struct reservation *r = c->b;

        if (r && r->shared && !tx->svc->replaying)
                event_reservation(tx->svc, r, NULL, false);
}

static const struct change_kind steps_change = { steps_undo, steps_commit };

/* Puts the planned steps in force, here and on the device, and notes the way back. */
static int run_steps(struct tx *tx, const struct target *t, struct plan *plan) {
        struct vmap *m = target_vmap(t);
        uint32_t first = plan->applied, count = plan->count - first;
        uint64_t mappings = m->count;
        bool device = t->space && !tx->svc->replaying;
        struct change *c;
        int r = 0;

        for (uint32_t i = first; i < plan->count; i++)
                if (plan->steps[i].type == STEP_UNMAP)
                        tx_doom(tx, memory_of(plan->steps[i].mapping->backing));
        plan_apply(plan, m);
        for (uint32_t i = first; device && i < first + count && r == 0; i++) {
                r = step_do(tx->svc, t->space, &plan->steps[i]);
                if (r < 0) {
                        for (uint32_t left = first + count; left > first; left--) {
                                struct step s = plan->steps[left - 1];

                                plan_revert(plan, m, 1);
                                if (left - 1 < i)
                                        step_undo(tx->svc, t->space, &s);
                        }
                }
        }
        if (r < 0)
                return r;
        tx->svc->state.mappings_count += m->count - mappings;
        c = tx_push(tx, &steps_change, t->space, t->reservation);
        c->n[0] = count;
        if (t->reservation) {
                c->n[1] = t->reservation->generation;
                t->reservation->generation = ++tx->svc->generation;
        }
        return 0;
}

int do_map(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, struct memory *m, uint64_t offset,
           struct map_attrs attrs, bool replace, uint64_t *ret_at) {
        struct plan *plan = tx_plan(tx, target_vmap(t));
        int r;

        if (!plan || tx_room(tx, 1) < 0)
                return -ENOMEM;
        r = plan_map(plan, target_vmap(t), address, size, &m->backing, offset, attrs, replace, ret_at);
        return r == 0 ? run_steps(tx, t, plan) : r;
}

int do_unmap(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, bool must_be_full,
             uint64_t *ret_at) {
        struct plan *plan = tx_plan(tx, target_vmap(t));
        int r;

        if (!plan || tx_room(tx, 1) < 0)
                return -ENOMEM;
        r = plan_unmap(plan, target_vmap(t), address, size, must_be_full, ret_at);
        return r == 0 ? run_steps(tx, t, plan) : r;
}

int do_protect(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, struct map_attrs attrs,
               unsigned which, uint64_t *ret_at) {
        struct plan *plan = tx_plan(tx, target_vmap(t));
        int r;

        if (!plan || tx_room(tx, 1) < 0)
                return -ENOMEM;
        r = plan_protect(plan, target_vmap(t), address, size, attrs, which, ret_at);
        return r == 0 ? run_steps(tx, t, plan) : r;
}

/* ---- sparse: a = space, b = reservation, n = address, size, value before ---- */

struct sparse_way {
        struct imap_spare here, device; /* for the way back */
        struct target target;
};

static struct imap *target_sparse(const struct target *t) {
        return t->space ? &t->space->sparse : t->reservation->sparse;
}

/* Takes what it needs out of the spares. */
static void sparse_set(struct service *svc, const struct target *t, struct imap_spare *here, struct imap_spare *device,
                       uint64_t address, uint64_t size, uint64_t value) {
        imap_set_with(target_sparse(t), here, address, address + size, value);
        if (t->space && !svc->replaying)
                node_backend(svc, t->space->node)
                        ->sparse(t->space->device_space, address, size, (enum sparse_writes)value, device);
}

static void way_free(struct sparse_way *way) {
        imap_spare_put(&way->here);
        imap_spare_put(&way->device);
        alloc_free(way);
}

static void sparse_undo(struct tx *tx, struct change *c) {
        struct sparse_way *way = c->a;

        sparse_set(tx->svc, &way->target, &way->here, &way->device, c->n[0], c->n[1], c->n[2]);
        way_free(way);
}

static void sparse_commit(struct tx *tx, struct change *c) {
        way_free(c->a);
}

static const struct change_kind sparse_change = { sparse_undo, sparse_commit };

static struct sparse_way *way_new(const struct target *t) {
        struct sparse_way *way = alloc_zero(sizeof(*way));

        if (!way)
                return NULL;
        way->target = *t;
        if (imap_spare_get(&way->here) == 0 && imap_spare_get(&way->device) == 0)
                return way;
        way_free(way);
        return NULL;
}

static int make_sparse_map(struct reservation *r) {
        r->sparse = alloc_zero(sizeof(*r->sparse));
        if (!r->sparse)
                return -ENOMEM;
        imap_init(r->sparse);
        return 0;
}

int do_sparse(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, uint64_t from, uint64_t to) {
        struct sparse_way *there, *back;
        struct change *c;

        if ((t->reservation && !t->reservation->sparse && make_sparse_map(t->reservation) < 0) || tx_room(tx, 1) < 0)
                return -ENOMEM;
        there = way_new(t);
        back = there ? way_new(t) : NULL;
        if (!back) {
                if (there)
                        way_free(there);
                return -ENOMEM;
        }
        sparse_set(tx->svc, t, &there->here, &there->device, address, size, to);
        way_free(there);
        c = tx_push(tx, &sparse_change, back, NULL);
        c->n[0] = address;
        c->n[1] = size;
        c->n[2] = from;
        return 0;
}

/* Memory of devices is mapped in spaces only. */
static struct space *mapping_space(const struct mapping *e) {
        return container_of(e->map, struct space, mappings);
}

void memory_hide(struct service *svc, struct memory *m) {
        memory_set_away(svc, m, true);
        list_for_each (l, &m->backing.mappings) {
                const struct mapping *e = container_of(l, struct mapping, by_backing);
                struct space *s = mapping_space(e);

                node_backend(svc, s->node)->unmap(s->device_space, e->va, e->size);
        }
}

void memory_show(struct service *svc, struct memory *m) {
        memory_set_away(svc, m, false);
        list_for_each (l, &m->backing.mappings) {
                const struct mapping *e = container_of(l, struct mapping, by_backing);

                device_map_again(svc, mapping_space(e), e->va, e->size, m, e->offset, e->attrs);
        }
}

int space_fill(struct service *svc, struct space *s) {
        int r = 0;

        for (struct mapping *e = vmap_first_from(&s->mappings, 0); e && r == 0; e = vmap_next(e))
                r = device_map(svc, s, e->va, e->size, memory_of(e->backing), e->offset, e->attrs);
        for (struct imap_entry *e = imap_first_from(&s->sparse, 0); e && r == 0; e = imap_next(e)) {
                struct imap_spare spare;

                r = imap_spare_get(&spare);
                if (r < 0)
                        break;
                node_backend(svc, s->node)
                        ->sparse(s->device_space, e->start, e->end - e->start, (enum sparse_writes)e->value, &spare);
                imap_spare_put(&spare);
        }
        return r;
}
