#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A balanced binary tree with its nodes embedded in what it orders, and an optional summary of each
 * subtree kept in the node's owner ("augmentation"). The tree never compares: the caller walks from
 * the root to the place, and hands the place over.
 *
 * A node is three words. An empty tree is all zeroes.
 */
struct tree_node {
        uintptr_t parent_balance; /* parent pointer and balance in its low bits */
        struct tree_node *child[2];
};

struct tree {
        struct tree_node *root;
};

/* Recomputes the summary of `n` from `n` and its children; returns true if the summary changed. */
typedef bool (*tree_update_fn)(struct tree_node *n);

/* Links `n` as parent->child[side], which must be NULL (parent NULL: as the root of an empty tree),
 * and balances. `update` may be NULL. */
void tree_insert(struct tree *t, struct tree_node *parent, int side, struct tree_node *n, tree_update_fn update);
/* Inserts `n` directly after (or before) `at` in the order, without a comparison. */
void tree_insert_after(struct tree *t, struct tree_node *at, struct tree_node *n, tree_update_fn update);
void tree_insert_before(struct tree *t, struct tree_node *at, struct tree_node *n, tree_update_fn update);
void tree_remove(struct tree *t, struct tree_node *n, tree_update_fn update);
/* The owner of `n` changed what its summary is made of: recomputes `n` and its ancestors while they change. */
void tree_refresh(struct tree_node *n, tree_update_fn update);

struct tree_node *tree_first(const struct tree *t);
struct tree_node *tree_last(const struct tree *t);
struct tree_node *tree_next(const struct tree_node *n);
struct tree_node *tree_prev(const struct tree_node *n);

/* Asks for the nodes next to `n` ahead of a walk that will need some of them. Changes nothing. */
static inline void tree_prefetch(const struct tree_node *n) {
        __builtin_prefetch((const void *)n->parent_balance);
        __builtin_prefetch(n->child[0]);
        __builtin_prefetch(n->child[1]);
}

/* Checks links, order of parents and balance; returns the number of nodes, or -1. For tests. */
long tree_check(const struct tree *t);
