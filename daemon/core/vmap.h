#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"

/*
 * What an address space shows: mappings that never overlap, ordered by VA. A mapping shows
 * [offset, offset + size) of a backing at [va, va + size) with an access and the driver's attributes.
 *
 * Nothing changes a vmap directly. A planner looks at it and emits steps; applying the steps cannot
 * fail (what they need was allocated while planning), and they can be reverted, latest first, until
 * they are committed. A device executes the same steps, a dry run only prints them.
 *
 *      before      [ old............................ ]
 *      map over it            [ new ]
 *      steps       CUT old -> [ head ]     [ tail... ]    then  MAP new
 */

/* Embedded in whatever a mapping can show (a memory object). Lists every mapping that shows it. */
struct backing {
        struct list mappings;
        uint64_t count;
};

/* What the driver wants to know beside address and access; kept through splits as it is. */
struct map_attrs {
        uint8_t access; /* 0 none, 1 read, 3 read and write */
        uint8_t pat;
        uint16_t kind;
};

struct mapping {
        struct tree_node node;
        uint64_t va, size, offset; /* beside the node: a search reads both */
        struct list by_backing;
        struct backing *backing;
        struct vmap *map; /* that shows it */
        struct map_attrs attrs;
};

struct vmap {
        struct tree tree;
        uint64_t count;
};

enum step_type {
        STEP_MAP,     /* `mapping` appears */
        STEP_UNMAP,   /* `mapping` goes */
        STEP_CUT,     /* [va, va + size), a proper part of `mapping`, goes; what is left before it and after it stays */
        STEP_PROTECT, /* [va, va + size) of `mapping` gets `attrs` (all of it, or a part that is split off) */
};

struct step {
        enum step_type type;
        struct mapping *mapping; /* for MAP the new one, else the one that is there */
        uint64_t va, size;       /* the range of addresses whose translation changes */
        struct map_attrs attrs;  /* MAP and PROTECT: from now on */
        struct map_attrs before; /* UNMAP, CUT and PROTECT: until now */
        /* The steps' own: mappings allocated while planning for the pieces that a split makes, what will
         * follow a new mapping in the order, and the geometry of `mapping` before the step for the way back. */
        struct mapping *piece[2];
        struct mapping *next;
        struct {
                uint64_t va, size, offset;
        } saved;
};

/*
 * The steps of one operation, or of several with plan_apply() after each. Zero-initialised is empty. From
 * planning until commit or revert nothing else may change the vmap.
 */
struct plan {
        struct step *steps;
        uint32_t count, room;
        uint32_t applied; /* how many of them are in force */
};

enum {
        _PLAN_E_OK,
        PLAN_E_OVERLAP,    /* something is mapped there and `replace` was not asked */
        PLAN_E_NOT_MAPPED, /* part of the range shows nothing */
};

void backing_init(struct backing *b);
void vmap_init(struct vmap *m);
/* Removes and frees every mapping, unlinking each from its backing. */
void vmap_clear(struct vmap *m);
/* Removes and frees one, unlinking it from its backing; no plan may refer to it. */
void vmap_remove(struct vmap *m, struct mapping *e);

/* Each appends to `plan` (which must hold no unapplied steps) and changes nothing else. They return 0, one
 * of PLAN_E_* (then *ret_at, if given, is the first address at fault), or -ENOMEM / -EINVAL (size 0, overflow of
 * address or offset, unapplied steps);
 * on anything but 0 the plan is as before. */
int plan_map(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, struct backing *backing,
             uint64_t offset, struct map_attrs attrs, bool replace, uint64_t *ret_at);
/* With `must_be_full` every byte of the range must be mapped; without, holes are passed over. */
int plan_unmap(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, bool must_be_full,
               uint64_t *ret_at);
/* Every byte of the range must be mapped. The members of `attrs` that `which` names replace the old ones; a mapping
 * that has them already gets no step and is not split. */
enum { ATTR_ACCESS = 1, ATTR_PAT = 2, ATTR_KIND = 4 };
int plan_protect(struct plan *plan, const struct vmap *m, uint64_t va, uint64_t size, struct map_attrs attrs,
                 unsigned which, uint64_t *ret_at);

/* Puts the steps that are not applied yet in force. Cannot fail. */
void plan_apply(struct plan *plan, struct vmap *m);
/* Takes the last `count` applied steps back (all, when there are fewer), latest first, and drops them together with
 * those not applied. Cannot fail. */
void plan_revert(struct plan *plan, struct vmap *m, uint32_t count);
/* Forgets the steps and frees what they no longer need (mappings that went; steps that were never applied). */
void plan_commit(struct plan *plan);
/* Drops steps that were never applied. */
void plan_drop_unapplied(struct plan *plan);
/* plan_commit() keeps the array of steps for the next use; this frees it too. */
void plan_fini(struct plan *plan);

/* The first mapping that ends above `va`, or NULL; and the one after. */
struct mapping *vmap_first_from(const struct vmap *m, uint64_t va);
struct mapping *vmap_next(const struct mapping *e);
/* The mapping that contains `va`, or NULL. */
struct mapping *vmap_find(const struct vmap *m, uint64_t va);

/* Order, no overlap, count, links to backings. 0 or -EUCLEAN. For tests. */
int vmap_check(const struct vmap *m);
