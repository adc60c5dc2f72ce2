#pragma once

#include "core/vmap.h"

/* What the vmap and its planner share, and nobody else uses. */

static inline struct mapping *mapping_of(struct tree_node *n) {
        return n ? container_of(n, struct mapping, node) : NULL;
}

static inline uint64_t mapping_end(const struct mapping *e) {
        return e->va + e->size;
}

/* The tree's part is the caller's: only it knows the place. */
static inline void mapping_shown(struct vmap *m, struct mapping *e) {
        list_push_back(&e->backing->mappings, &e->by_backing);
        e->backing->count++;
        e->map = m;
        m->count++;
}

static inline void mapping_remove(struct vmap *m, struct mapping *e) {
        tree_remove(&m->tree, &e->node, NULL);
        list_remove(&e->by_backing);
        e->backing->count--;
        m->count--;
}
