#include "core/vmap.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/vmap-priv.h"

void backing_init(struct backing *b) {
        list_init(&b->mappings);
        b->count = 0;
}

void vmap_init(struct vmap *m) {
        *m = (struct vmap){ 0 };
}

void vmap_clear(struct vmap *m) {
        struct mapping *next;

        for (struct mapping *e = mapping_of(tree_first(&m->tree)); e; e = next) {
                next = vmap_next(e);
                vmap_remove(m, e);
        }
}

void vmap_remove(struct vmap *m, struct mapping *e) {
        mapping_remove(m, e);
        alloc_free(e);
}

struct mapping *vmap_first_from(const struct vmap *m, uint64_t va) {
        struct tree_node *n = m->tree.root;
        struct mapping *first = NULL;

        while (n) {
                struct mapping *e = mapping_of(n);
                bool below = mapping_end(e) <= va;

                first = below ? first : e;
                n = n->child[below];
        }
        return first;
}

struct mapping *vmap_next(const struct mapping *e) {
        return mapping_of(tree_next(&e->node));
}

struct mapping *vmap_find(const struct vmap *m, uint64_t va) {
        struct mapping *e = vmap_first_from(m, va);

        return e && e->va <= va ? e : NULL;
}

/* Every mapping on the list names the backing, and the backing's count is the length of the list. */
static bool backing_ok(const struct backing *b) {
        uint64_t count = 0;

        list_for_each (it, &b->mappings) {
                const struct mapping *e = container_of(it, struct mapping, by_backing);

                if (e->backing != b || it->next->prev != it || count++ == b->count)
                        return false;
        }
        return count == b->count;
}

/* The list of a backing is walked once, at the mapping that stands first on it. */
static bool mapping_ok(const struct mapping *e) {
        const struct list *link = &e->by_backing;

        if (!e->size || mapping_end(e) < e->va || e->offset + e->size < e->offset || !e->backing)
                return false;
        if (list_empty(link) || link->prev->next != link || link->next->prev != link)
                return false;
        return e->backing->mappings.next != link || backing_ok(e->backing);
}

int vmap_check(const struct vmap *m) {
        uint64_t count = 0, end = 0;

        if (tree_check(&m->tree) != (long)m->count)
                return -EUCLEAN;
        for (const struct mapping *e = mapping_of(tree_first(&m->tree)); e; e = vmap_next(e)) {
                if (!mapping_ok(e) || e->va < end)
                        return -EUCLEAN;
                end = mapping_end(e);
                count++;
        }
        return count == m->count ? 0 : -EUCLEAN;
}
