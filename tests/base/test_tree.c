#include "base/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/list.h"

/*
 * Items are ordered by key; the summary of a subtree is its largest weight. The model is an array of
 * the items that are in the tree, in order.
 */
struct item {
        struct tree_node node;
        unsigned key, weight, max;
        bool linked;
};

enum { ITEMS = 400 };

struct world {
        struct tree tree;
        struct item item[ITEMS]; /* item[k].key == k */
};

static uint64_t random_state;
static unsigned long updates;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static struct item *item_of(const struct tree_node *n) {
        return n ? container_of(n, struct item, node) : NULL;
}

static unsigned max_below(const struct item *it) {
        unsigned max = it->weight;

        for (int side = 0; side < 2; side++) {
                const struct item *below = item_of(it->node.child[side]);

                if (below && below->max > max)
                        max = below->max;
        }
        return max;
}

static bool update_max(struct tree_node *n) {
        struct item *it = item_of(n);
        unsigned max = max_below(it);
        bool changed = max != it->max;

        it->max = max;
        updates++;
        return changed;
}

static void check_world(const struct world *w, bool summaries) {
        const struct tree_node *n = tree_first(&w->tree), *last = NULL;
        long count = 0;

        for (int k = 0; k < ITEMS; k++) {
                if (!w->item[k].linked)
                        continue;
                assert_ptr_equal(n, &w->item[k].node);
                assert_ptr_equal(tree_prev(n), last);
                if (summaries)
                        assert_int_equal(w->item[k].max, max_below(&w->item[k]));
                last = n;
                n = tree_next(n);
                count++;
        }
        assert_null(n);
        assert_ptr_equal(tree_last(&w->tree), last);
        assert_int_equal(tree_check(&w->tree), count);
}

static void insert_by_key(struct world *w, struct item *it, tree_update_fn update) {
        struct tree_node *parent = NULL, *n = w->tree.root;
        int side = 0;

        while (n) {
                parent = n;
                side = item_of(n)->key < it->key;
                n = n->child[side];
        }
        tree_insert(&w->tree, parent, side, &it->node, update);
        it->linked = true;
}

static struct item *linked_beside(struct world *w, int key, int step) {
        for (key += step; key >= 0 && key < ITEMS; key += step)
                if (w->item[key].linked)
                        return &w->item[key];
        return NULL;
}

static void insert_somehow(struct world *w, struct item *it, tree_update_fn update) {
        struct item *before = linked_beside(w, it->key, -1), *after = linked_beside(w, it->key, 1);
        uint64_t how = rnd(3);

        memset(&it->node, 0xa5, sizeof(it->node)); /* whatever is in it must not matter */
        if (how == 0 && before)
                tree_insert_after(&w->tree, &before->node, &it->node, update);
        else if (how == 1 && after)
                tree_insert_before(&w->tree, &after->node, &it->node, update);
        else
                insert_by_key(w, it, update);
        it->linked = true;
}

static void step(struct world *w, unsigned keys, unsigned keep, tree_update_fn update) {
        struct item *it = &w->item[rnd(keys)];

        if (!it->linked) {
                it->weight = rnd(50);
                it->max = rnd(50);
                if (rnd(100) < keep)
                        insert_somehow(w, it, update);
        } else if (update && rnd(4) == 0) {
                it->weight = rnd(50);
                tree_refresh(&it->node, update);
        } else if (rnd(100) >= keep) {
                tree_remove(&w->tree, &it->node, update);
                it->linked = false;
        }
}

static struct world *world_new(void) {
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        for (int k = 0; k < ITEMS; k++)
                w->item[k].key = k;
        return w;
}

static void random_walk(unsigned keys, unsigned steps, tree_update_fn update) {
        struct world *w = world_new();
        unsigned keep = 50;

        for (unsigned i = 0; i < steps; i++) {
                if (i % 500 == 0)
                        keep = 20 + rnd(61); /* phases in which the tree grows, and in which it shrinks */
                step(w, keys, keep, update);
                check_world(w, update);
        }
        free(w);
}

static void test_empty(void **state) {
        struct tree t = { 0 };

        assert_null(tree_first(&t));
        assert_null(tree_last(&t));
        assert_int_equal(tree_check(&t), 0);
}

static void test_one(void **state) {
        struct world *w = world_new();

        insert_by_key(w, &w->item[5], update_max);
        check_world(w, true);
        assert_ptr_equal(w->tree.root, &w->item[5].node);
        tree_remove(&w->tree, &w->item[5].node, update_max);
        assert_null(w->tree.root);
        free(w);
}

/* An ascending and a descending row are what a tree without rotations degenerates on. */
static void test_height(void **state) {
        for (int descending = 0; descending < 2; descending++) {
                struct world *w = world_new();
                int height = 0;

                for (int k = 0; k < ITEMS; k++) {
                        insert_by_key(w, &w->item[descending ? ITEMS - 1 - k : k], NULL);
                        check_world(w, false);
                }
                for (struct tree_node *n = w->tree.root; n; n = n->child[0])
                        height++;
                assert_in_range(height, 6, 12); /* 1.44 * log2(400) = 12.4 */
                free(w);
        }
}

/* Removing the node with two children, next to its stand-in or far from it, with every summary in its way. */
static void test_remove_inner(void **state) {
        for (int gone = 0; gone < 31; gone++) {
                for (int heavy = 0; heavy < 31; heavy++) {
                        struct world *w = world_new();

                        for (int k = 0; k < 31; k++) {
                                w->item[k].weight = k == heavy ? 90 : k;
                                insert_by_key(w, &w->item[k], update_max);
                        }
                        tree_remove(&w->tree, &w->item[gone].node, update_max);
                        w->item[gone].linked = false;
                        check_world(w, true);
                        free(w);
                }
        }
}

static void test_refresh_stops_early(void **state) {
        struct world *w = world_new();
        struct tree_node *leaf;

        for (int k = 0; k < ITEMS; k++) {
                w->item[k].weight = 1000;
                insert_by_key(w, &w->item[k], update_max);
        }
        leaf = tree_first(&w->tree);
        item_of(leaf)->weight = 5;
        updates = 0;
        tree_refresh(leaf, update_max);
        assert_in_range(updates, 1, 2); /* its parent still has 1000 of its own */
        check_world(w, true);
        item_of(leaf)->weight = 5000;
        tree_refresh(leaf, update_max);
        assert_int_equal(item_of(w->tree.root)->max, 5000);
        free(w);
}

static void test_check_sees_damage(void **state) {
        struct world *w = world_new();
        struct tree_node *root, saved;

        for (int k = 0; k < 20; k++)
                insert_by_key(w, &w->item[k], NULL);
        root = w->tree.root;
        saved = *root->child[0];
        root->child[0]->parent_balance ^= 3;
        assert_int_equal(tree_check(&w->tree), -1);
        *root->child[0] = saved;
        root->child[0]->parent_balance = (uintptr_t)tree_last(&w->tree);
        assert_int_equal(tree_check(&w->tree), -1);
        *root->child[0] = saved;
        root->child[0]->child[0] = NULL;
        assert_int_equal(tree_check(&w->tree), -1);
        *root->child[0] = saved;
        assert_int_equal(tree_check(&w->tree), 20);
        free(w);
}

static void test_random_small(void **state) {
        random_walk(12, 100000, update_max);
        random_walk(12, 20000, NULL);
}

static void test_random_large(void **state) {
        random_walk(ITEMS, 100000, update_max);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_one),
                cmocka_unit_test(test_height),
                cmocka_unit_test(test_remove_inner),
                cmocka_unit_test(test_refresh_stops_early),
                cmocka_unit_test(test_check_sees_damage),
                cmocka_unit_test(test_random_small),
                cmocka_unit_test(test_random_large),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
        random_state |= 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
