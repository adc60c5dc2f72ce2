#include "base/tree.h"

/*
 * An AVL tree. The heights of a node's two subtrees differ by one at most; which of them is the
 * higher one is kept in the low bits of the parent word:
 *
 *      0       both are equally high
 *      1       child[0] is the higher one
 *      2       child[1] is the higher one
 *
 * so that "side + 1" names a side and everything below is written once for both sides.
 *
 * Summaries are brought up to date in two movements. First, right after a node was linked or
 * unlinked, from there upwards for as long as they change. Then rotations recompute the two or three
 * nodes they move; what a rotation leaves on top covers the same nodes as what was on top before, so
 * nothing above it changes again.
 */
enum {
        EVEN = 0,
        HEAVY_MASK = 3,
};

static inline struct tree_node *parent_of(const struct tree_node *n) {
        return (struct tree_node *)(n->parent_balance & ~(uintptr_t)HEAVY_MASK);
}

static inline unsigned heavy_of(const struct tree_node *n) {
        return n->parent_balance & HEAVY_MASK;
}

static inline void set_parent(struct tree_node *n, struct tree_node *parent) {
        n->parent_balance = (uintptr_t)parent | heavy_of(n);
}

static inline void set_heavy(struct tree_node *n, unsigned heavy) {
        n->parent_balance = (n->parent_balance & ~(uintptr_t)HEAVY_MASK) | heavy;
}

static inline unsigned side_of(const struct tree_node *parent, const struct tree_node *n) {
        return parent->child[1] == n;
}

/* Makes `n` the child of `parent` where `old` was. */
static inline void put_in_place(struct tree *t, struct tree_node *parent, const struct tree_node *old,
                                struct tree_node *n) {
        if (!parent)
                t->root = n;
        else
                parent->child[side_of(parent, old)] = n;
        if (n)
                set_parent(n, parent);
}

/* Raises top->child[side] above `top` and returns it. The caller sets both balances. */
static struct tree_node *raise(struct tree *t, struct tree_node *top, unsigned side) {
        struct tree_node *up = top->child[side], *middle = up->child[!side];

        put_in_place(t, parent_of(top), top, up);
        top->child[side] = middle;
        if (middle)
                set_parent(middle, top);
        up->child[!side] = top;
        set_parent(top, up);
        return up;
}

/* top->child[side] is two levels higher than the other child. Returns the node that is on top
 * afterwards; the subtree is one level lower than before unless that node still leans to a side. */
static struct tree_node *rotate(struct tree *t, struct tree_node *top, unsigned side, tree_update_fn update) {
        struct tree_node *up = top->child[side], *new_top = up;
        unsigned heavy = heavy_of(up), away = !side + 1;

        if (heavy != away) {
                raise(t, top, side);
                set_heavy(top, heavy == EVEN ? side + 1 : EVEN);
                set_heavy(up, heavy == EVEN ? away : EVEN);
        } else {
                new_top = raise(t, up, !side);
                raise(t, top, side);
                heavy = heavy_of(new_top);
                set_heavy(top, heavy == side + 1 ? away : EVEN);
                set_heavy(up, heavy == away ? side + 1 : EVEN);
                set_heavy(new_top, EVEN);
        }
        if (update) {
                update(top);
                if (up != new_top)
                        update(up);
                update(new_top);
        }
        return new_top;
}

/* The subtree of `n` became one level higher. */
static void balance_grown(struct tree *t, struct tree_node *n, tree_update_fn update) {
        struct tree_node *p;

        for (; (p = parent_of(n)); n = p) {
                unsigned side = side_of(p, n), heavy = heavy_of(p);

                if (heavy == EVEN) {
                        set_heavy(p, side + 1);
                        continue;
                }
                if (heavy == side + 1)
                        rotate(t, p, side, update);
                else
                        set_heavy(p, EVEN);
                return;
        }
}

/* p->child[side] became one level lower. */
static void balance_shrunk(struct tree *t, struct tree_node *p, unsigned side, tree_update_fn update) {
        struct tree_node *up;

        for (;;) {
                unsigned heavy = heavy_of(p);

                if (heavy == EVEN) {
                        set_heavy(p, !side + 1u);
                        return;
                }
                if (heavy == side + 1) {
                        set_heavy(p, EVEN);
                } else {
                        p = rotate(t, p, !side, update);
                        if (heavy_of(p) != EVEN)
                                return;
                }
                up = parent_of(p);
                if (!up)
                        return;
                side = side_of(up, p);
                p = up;
        }
}

void tree_refresh(struct tree_node *n, tree_update_fn update) {
        while (n && update(n))
                n = parent_of(n);
}

void tree_insert(struct tree *t, struct tree_node *parent, int side, struct tree_node *n, tree_update_fn update) {
        n->parent_balance = (uintptr_t)parent;
        n->child[0] = n->child[1] = NULL;
        if (parent)
                parent->child[side] = n;
        else
                t->root = n;
        if (update) {
                update(n);
                tree_refresh(parent, update);
        }
        balance_grown(t, n, update);
}

static struct tree_node *outermost(struct tree_node *n, unsigned side) {
        while (n && n->child[side])
                n = n->child[side];
        return n;
}

static void insert_beside(struct tree *t, struct tree_node *at, unsigned side, struct tree_node *n,
                          tree_update_fn update) {
        if (!at->child[side])
                tree_insert(t, at, side, n, update);
        else
                tree_insert(t, outermost(at->child[side], !side), !side, n, update);
}

void tree_insert_after(struct tree *t, struct tree_node *at, struct tree_node *n, tree_update_fn update) {
        insert_beside(t, at, 1, n, update);
}

void tree_insert_before(struct tree *t, struct tree_node *at, struct tree_node *n, tree_update_fn update) {
        insert_beside(t, at, 0, n, update);
}

/* Takes `n`, which has two children, out by putting the node before it in its place: whoever removes a
 * node has often just looked at the one before it. What became lower is *ret_parent's child on the side
 * that is returned. */
static unsigned unlink_inner(struct tree *t, struct tree_node *n, struct tree_node **ret_parent) {
        struct tree_node *prev = outermost(n->child[0], 1), *parent = parent_of(prev);
        unsigned side = 1;

        if (parent == n) {
                parent = prev;
                side = 0;
        } else {
                parent->child[1] = prev->child[0];
                if (prev->child[0])
                        set_parent(prev->child[0], parent);
                prev->child[0] = n->child[0];
                set_parent(n->child[0], prev);
        }
        prev->child[1] = n->child[1];
        set_parent(n->child[1], prev);
        put_in_place(t, parent_of(n), n, prev);
        set_heavy(prev, heavy_of(n));
        *ret_parent = parent;
        return side;
}

void tree_remove(struct tree *t, struct tree_node *n, tree_update_fn update) {
        struct tree_node *parent = parent_of(n), *stand_in = NULL;
        unsigned side = 0;

        if (n->child[0] && n->child[1]) {
                side = unlink_inner(t, n, &parent);
                /* `parent` may be the stand-in itself; whoever now has n's children is it. */
                stand_in = parent_of(n->child[1]);
        } else {
                if (parent)
                        side = side_of(parent, n);
                put_in_place(t, parent, n, n->child[0] ? n->child[0] : n->child[1]);
        }
        if (!parent)
                return;
        if (update) {
                tree_refresh(parent, update);
                if (stand_in) {
                        /* Its summary was that of another place: whether it changed says nothing. */
                        update(stand_in);
                        tree_refresh(parent_of(stand_in), update);
                }
        }
        balance_shrunk(t, parent, side, update);
}

struct tree_node *tree_first(const struct tree *t) {
        return outermost(t->root, 0);
}

struct tree_node *tree_last(const struct tree *t) {
        return outermost(t->root, 1);
}

static struct tree_node *neighbour(const struct tree_node *n, unsigned side) {
        struct tree_node *p;

        if (n->child[side])
                return outermost(n->child[side], !side);
        while ((p = parent_of(n)) && p->child[side] == n)
                n = p;
        return p;
}

struct tree_node *tree_next(const struct tree_node *n) {
        return neighbour(n, 1);
}

struct tree_node *tree_prev(const struct tree_node *n) {
        return neighbour(n, 0);
}

/* The height of the subtree, or -1; adds its nodes to *count. */
static int check_below(const struct tree_node *n, const struct tree_node *parent, long *count) {
        int height[2];

        if (!n)
                return 0;
        if (parent_of(n) != parent)
                return -1;
        for (int side = 0; side < 2; side++) {
                height[side] = check_below(n->child[side], n, count);
                if (height[side] < 0)
                        return -1;
        }
        switch (heavy_of(n)) {
        case 0:
                if (height[0] != height[1])
                        return -1;
                break;
        case 1:
                if (height[0] != height[1] + 1)
                        return -1;
                break;
        case 2:
                if (height[1] != height[0] + 1)
                        return -1;
                break;
        default: return -1;
        }
        (*count)++;
        return 1 + (height[0] > height[1] ? height[0] : height[1]);
}

long tree_check(const struct tree *t) {
        long count = 0;

        return check_below(t->root, NULL, &count) < 0 ? -1 : count;
}
