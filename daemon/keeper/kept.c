#include "keeper/kept.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/list.h"

static struct kept_item *item_of(struct tree_node *n) {
        return container_of(n, struct kept_item, node);
}

struct kept_item *kept_from(const struct kept *k, uint64_t key) {
        struct kept_item *found = NULL;

        for (struct tree_node *n = k->tree.root; n;) {
                struct kept_item *it = item_of(n);

                if (it->key >= key)
                        found = it;
                n = n->child[it->key < key];
        }
        return found;
}

struct kept_item *kept_next(const struct kept_item *it) {
        struct tree_node *n = tree_next(&it->node);

        return n ? item_of(n) : NULL;
}

static struct kept_item *find(const struct kept *k, uint64_t key) {
        struct kept_item *it = kept_from(k, key);

        return it && it->key == key ? it : NULL;
}

static void link_item(struct kept *k, struct kept_item *it) {
        struct tree_node *parent = NULL, *n = k->tree.root;
        int side = 0;

        while (n) {
                parent = n;
                side = item_of(n)->key < it->key;
                n = n->child[side];
        }
        tree_insert(&k->tree, parent, side, &it->node, NULL);
        k->count++;
}

int kept_put(struct kept *k, uint64_t key, int fd) {
        struct kept_item *it = find(k, key);

        if (it) {
                close(it->fd);
                it->fd = fd;
                return 0;
        }
        it = alloc_zero(sizeof(*it));
        if (!it)
                return -ENOMEM;
        it->key = key;
        it->fd = fd;
        link_item(k, it);
        return 0;
}

static void drop_item(struct kept *k, struct kept_item *it) {
        tree_remove(&k->tree, &it->node, NULL);
        k->count--;
        close(it->fd);
        alloc_free(it);
}

void kept_drop(struct kept *k, uint64_t key) {
        struct kept_item *it = find(k, key);

        if (it)
                drop_item(k, it);
}

void kept_drop_all(struct kept *k) {
        while (k->tree.root)
                drop_item(k, item_of(k->tree.root));
}
