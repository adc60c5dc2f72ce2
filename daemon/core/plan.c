/*
 * The planner of a vmap.
 *
 * One operation meets each mapping at most once, so its steps are independent of each other and can be
 * planned on the vmap as it stands. A step owns memory only in one state:
 *
 *                 planned              applied                  applied, then
 *                                                          reverted     committed
 *      MAP        owns the new one     the vmap owns it    frees it     -
 *      UNMAP      -                    owns the old one    -            frees it
 *      CUT        owns its pieces      the vmap owns them  frees them   -
 *      PROTECT    owns its pieces      the vmap owns them  frees them   -
 *
 * That holds over several operations in one plan too: what one step gave to the vmap, only a later UNMAP
 * takes out of it, and reverting goes latest first, so a mapping has one owner at any time.
 *
 * A mapping that is split keeps the piece at its lowest address. Its difference of address and offset
 * never changes, so the offset of any address of a step is its mapping's offset plus the distance.
 */
#include <errno.h>

#include "base/alloc.h"
#include "core/vmap-priv.h"

static bool range_bad(uint64_t start, uint64_t size) {
        return !size || start + size < start;
}

static struct step *plan_push(struct plan *plan) {
        if (plan->count == plan->room) {
                uint64_t room = plan->room ? plan->room * 2ull : 16;
                struct step *steps;

                if (room > UINT32_MAX)
                        return NULL;
                steps = alloc_grow(plan->steps, plan->room * sizeof(*steps), room * sizeof(*steps));
                if (!steps)
                        return NULL;
                plan->steps = steps;
                plan->room = room;
        }
        return &plan->steps[plan->count++];
}

/* Appends a step for the part of `e` that lies in [va, end). */
static struct step *plan_push_on(struct plan *plan, enum step_type type, struct mapping *e, uint64_t va, uint64_t end) {
        struct step *s = plan_push(plan);

        if (!s)
                return NULL;
        if (va < e->va)
                va = e->va;
        if (end > mapping_end(e))
                end = mapping_end(e);
        *s = (struct step){
                .type = type,
                .mapping = e,
                .va = va,
                .size = end - va,
                .before = e->attrs,
                .saved = { e->va, e->size, e->offset },
        };
        return s;
}

static int step_take_pieces(struct step *s, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                s->piece[i] = alloc_zero(sizeof(*s->piece[i]));
                if (!s->piece[i])
                        return -ENOMEM;
        }
        return 0;
}

static bool has_head(const struct mapping *e, uint64_t va) {
        return e->va < va;
}

static bool has_tail(const struct mapping *e, uint64_t end) {
        return mapping_end(e) > end;
}

/* What [va, end) shows of `e` goes. */
static int plan_remove(struct plan *plan, struct mapping *e, uint64_t va, uint64_t end) {
        bool head = has_head(e, va), tail = has_tail(e, end);
        struct step *s = plan_push_on(plan, head || tail ? STEP_CUT : STEP_UNMAP, e, va, end);

        return s ? step_take_pieces(s, head && tail) : -ENOMEM;
}

/* Everything in [va, end) goes; `e` is the first mapping that ends above va. */
static int plan_remove_range(struct plan *plan, struct mapping *e, uint64_t va, uint64_t end) {
        for (; e && e->va < end; e = vmap_next(e)) {
                int r = plan_remove(plan, e, va, end);

                if (r)
                        return r;
        }
        return 0;
}

/* The mapping that will be the first at or above `end` once the steps that plan_remove_range() has just planned are
 * in force; `e` as there. */
static struct mapping *next_after(const struct plan *plan, struct mapping *e, uint64_t end) {
        const struct step *last;

        if (!e || e->va >= end)
                return e;
        last = &plan->steps[plan->count - 1];
        if (last->piece[0])
                return last->piece[0];
        return has_tail(last->mapping, end) ? last->mapping : vmap_next(last->mapping);
}

static int plan_new(struct plan *plan, struct mapping proto, struct mapping *next) {
        struct step *s = plan_push(plan);

        if (!s)
                return -ENOMEM;
        *s = (struct step){
                .type = STEP_MAP,
                .mapping = alloc_zero(sizeof(*s->mapping)),
                .va = proto.va,
                .size = proto.size,
                .attrs = proto.attrs,
                .next = next,
        };
        if (!s->mapping)
                return -ENOMEM;
        *s->mapping = proto;
        return 0;
}

int plan_map(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, struct backing *backing,
             uint64_t offset, struct map_attrs attrs, bool replace, uint64_t *ret_at) {
        struct mapping proto = { .backing = backing, .va = va, .size = size, .offset = offset, .attrs = attrs };
        uint64_t end = va + size;
        struct mapping *e;
        int r;

        if (plan->applied != plan->count || range_bad(va, size) || range_bad(offset, size))
                return -EINVAL;

        e = vmap_first_from(m, va);
        if (e && e->va < end && !replace) {
                if (ret_at)
                        *ret_at = has_head(e, va) ? va : e->va;
                return PLAN_E_OVERLAP;
        }

        r = plan_remove_range(plan, e, va, end);
        if (!r)
                r = plan_new(plan, proto, next_after(plan, e, end));
        if (r)
                plan_drop_unapplied(plan);
        return r;
}

/* `e` is the first mapping that ends above va. */
static bool find_hole(const struct mapping *e, uint64_t va, uint64_t end, uint64_t *ret_at) {
        for (; va < end; va = mapping_end(e), e = vmap_next(e)) {
                if (e && e->va <= va)
                        continue;
                if (ret_at)
                        *ret_at = va;
                return true;
        }
        return false;
}

int plan_unmap(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, bool must_be_full,
               uint64_t *ret_at) {
        struct mapping *e;
        int r;

        if (plan->applied != plan->count || range_bad(va, size))
                return -EINVAL;

        e = vmap_first_from(m, va);
        if (must_be_full && find_hole(e, va, va + size, ret_at))
                return PLAN_E_NOT_MAPPED;

        r = plan_remove_range(plan, e, va, va + size);
        if (r)
                plan_drop_unapplied(plan);
        return r;
}

static struct map_attrs attrs_merge(struct map_attrs old, struct map_attrs attrs, unsigned which) {
        if (which & ATTR_ACCESS)
                old.access = attrs.access;
        if (which & ATTR_PAT)
                old.pat = attrs.pat;
        if (which & ATTR_KIND)
                old.kind = attrs.kind;
        return old;
}

static bool attrs_equal(struct map_attrs a, struct map_attrs b) {
        return a.access == b.access && a.pat == b.pat && a.kind == b.kind;
}

static int plan_protect_one(struct plan *plan, struct mapping *e, uint64_t va, uint64_t end, struct map_attrs attrs) {
        struct step *s;

        if (attrs_equal(e->attrs, attrs))
                return 0;
        s = plan_push_on(plan, STEP_PROTECT, e, va, end);
        if (!s)
                return -ENOMEM;
        s->attrs = attrs;
        return step_take_pieces(s, has_head(e, va) + has_tail(e, end));
}

int plan_protect(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, struct map_attrs attrs,
                 unsigned which, uint64_t *ret_at) {
        uint64_t end = va + size;
        struct mapping *first;
        int r = 0;

        if (plan->applied != plan->count || range_bad(va, size))
                return -EINVAL;

        first = vmap_first_from(m, va);
        if (find_hole(first, va, end, ret_at))
                return PLAN_E_NOT_MAPPED;

        for (struct mapping *e = first; !r && e && e->va < end; e = vmap_next(e))
                r = plan_protect_one(plan, e, va, end, attrs_merge(e->attrs, attrs, which));
        if (r)
                plan_drop_unapplied(plan);
        return r;
}

/* The part of `e` from `at` on becomes the mapping `piece`. */
static void split(struct vmap *m, struct mapping *e, uint64_t at, struct mapping *piece) {
        piece->backing = e->backing;
        piece->va = at;
        piece->size = mapping_end(e) - at;
        piece->offset = e->offset + (at - e->va);
        piece->attrs = e->attrs;
        e->size = at - e->va;
        tree_insert_after(&m->tree, &e->node, &piece->node, NULL);
        mapping_shown(m, piece);
}

static void apply_map(struct vmap *m, struct step *s) {
        struct tree_node *n = &s->mapping->node, *last;

        if (s->next)
                tree_insert_before(&m->tree, &s->next->node, n, NULL);
        else if ((last = tree_last(&m->tree)))
                tree_insert_after(&m->tree, last, n, NULL);
        else
                tree_insert(&m->tree, NULL, 0, n, NULL);
        mapping_shown(m, s->mapping);
}

static void apply_cut(struct vmap *m, struct step *s) {
        struct mapping *e = s->mapping;

        if (s->piece[0])
                split(m, e, s->va + s->size, s->piece[0]);
        if (has_head(e, s->va)) {
                e->size = s->va - e->va;
        } else {
                e->va += s->size;
                e->offset += s->size;
                e->size -= s->size;
        }
}

static void apply_protect(struct vmap *m, struct step *s) {
        struct mapping *part = s->mapping;

        if (has_head(part, s->va)) {
                split(m, part, s->va, s->piece[0]);
                part = s->piece[0];
        }
        if (has_tail(part, s->va + s->size))
                split(m, part, s->va + s->size, part == s->mapping ? s->piece[0] : s->piece[1]);
        part->attrs = s->attrs;
}

void plan_apply(struct plan *plan, struct vmap *m) {
        for (; plan->applied < plan->count; plan->applied++) {
                struct step *s = &plan->steps[plan->applied];

                switch (s->type) {
                case STEP_MAP: apply_map(m, s); break;
                case STEP_UNMAP: mapping_remove(m, s->mapping); break;
                case STEP_CUT: apply_cut(m, s); break;
                case STEP_PROTECT: apply_protect(m, s); break;
                }
        }
}

static void step_free_pieces(struct step *s) {
        alloc_free(s->piece[0]);
        alloc_free(s->piece[1]);
}

/* Takes the mapping back to where it was; by then what lay there has been reverted already. */
static void revert_unmap(struct vmap *m, struct mapping *e) {
        struct tree_node *parent = NULL, *n = m->tree.root;
        int side = 0;

        while (n) {
                parent = n;
                side = mapping_of(n)->va < e->va;
                n = n->child[side];
        }
        tree_insert(&m->tree, parent, side, &e->node, NULL);
        mapping_shown(m, e);
}

static void revert_split(struct vmap *m, struct step *s) {
        struct mapping *e = s->mapping;

        for (unsigned i = 0; i < 2; i++)
                if (s->piece[i])
                        mapping_remove(m, s->piece[i]);
        step_free_pieces(s);
        e->va = s->saved.va;
        e->size = s->saved.size;
        e->offset = s->saved.offset;
        e->attrs = s->before;
}

static void step_revert(struct vmap *m, struct step *s) {
        switch (s->type) {
        case STEP_MAP:
                mapping_remove(m, s->mapping);
                alloc_free(s->mapping);
                break;
        case STEP_UNMAP: revert_unmap(m, s->mapping); break;
        case STEP_CUT:
        case STEP_PROTECT: revert_split(m, s); break;
        }
}

void plan_revert(struct plan *plan, struct vmap *m, uint32_t count) {
        plan_drop_unapplied(plan);
        for (; count && plan->count; count--) {
                step_revert(m, &plan->steps[--plan->count]);
                plan->applied = plan->count;
        }
}

void plan_drop_unapplied(struct plan *plan) {
        while (plan->count > plan->applied) {
                struct step *s = &plan->steps[--plan->count];

                if (s->type == STEP_MAP)
                        alloc_free(s->mapping);
                step_free_pieces(s);
        }
}

void plan_commit(struct plan *plan) {
        plan_drop_unapplied(plan);
        for (uint32_t i = 0; i < plan->count; i++)
                if (plan->steps[i].type == STEP_UNMAP)
                        alloc_free(plan->steps[i].mapping);
        plan->count = plan->applied = 0;
}

void plan_fini(struct plan *plan) {
        plan_commit(plan);
        alloc_free(plan->steps);
        *plan = (struct plan){ 0 };
}
