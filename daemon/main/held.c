#include "main/held.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/list.h"

/* A number may be another file's by the time that it is looked at, if somebody closed the descriptor first: so the file
 * is remembered, and what is another one is passed over. */
struct item {
        struct tree_node node; /* in held.tree, by key */
        uint64_t key;
        int fd;
        bool seen; /* which file it is */
        dev_t device;
        ino_t inode;
};

static struct item *item_of(struct tree_node *n) {
        return container_of(n, struct item, node);
}

static struct item *find(const struct held *h, uint64_t key) {
        for (struct tree_node *n = h->tree.root; n; n = n->child[item_of(n)->key < key])
                if (item_of(n)->key == key)
                        return item_of(n);
        return NULL;
}

static void link_item(struct held *h, struct item *it) {
        struct tree_node *parent = NULL, *n = h->tree.root;
        int side = 0;

        while (n) {
                parent = n;
                side = item_of(n)->key < it->key;
                n = n->child[side];
        }
        tree_insert(&h->tree, parent, side, &it->node, NULL);
        h->count++;
}

static struct item *get(struct held *h, uint64_t key) {
        struct item *it = find(h, key);

        if (it)
                return it;
        it = alloc_zero(sizeof(*it));
        if (!it)
                return NULL;
        it->key = key;
        link_item(h, it);
        return it;
}

static void see(struct item *it, const struct stat *st) {
        it->device = st->st_dev;
        it->inode = st->st_ino;
        it->seen = true;
}

int held_put(struct held *h, uint64_t key, int fd) {
        struct item *it;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        it = get(h, key);
        if (!it)
                return -ENOMEM;
        it->fd = fd;
        see(it, &st);
        return 0;
}

int held_put_unseen(struct held *h, uint64_t key, int fd) {
        struct item *it = get(h, key);

        if (!it)
                return -ENOMEM;
        it->fd = fd;
        it->seen = false;
        h->unseen = true;
        return 0;
}

void held_look(struct held *h) {
        struct stat st;

        for (struct tree_node *n = h->unseen ? tree_first(&h->tree) : NULL; n; n = tree_next(n))
                if (!item_of(n)->seen && fstat(item_of(n)->fd, &st) == 0)
                        see(item_of(n), &st);
        h->unseen = false;
}

static void drop_item(struct held *h, struct item *it) {
        tree_remove(&h->tree, &it->node, NULL);
        h->count--;
        alloc_free(it);
}

void held_drop(struct held *h, uint64_t key) {
        struct item *it = find(h, key);

        if (it)
                drop_item(h, it);
}

void held_drop_all(struct held *h) {
        while (h->tree.root)
                drop_item(h, item_of(h->tree.root));
}

static bool still_there(const struct item *it) {
        struct stat st;

        return fstat(it->fd, &st) == 0 && (!it->seen || (st.st_dev == it->device && st.st_ino == it->inode));
}

int held_each(const struct held *h, held_fn fn, void *userdata) {
        int r = 0;

        for (struct tree_node *n = tree_first(&h->tree); n && r == 0; n = tree_next(n))
                if (still_there(item_of(n)))
                        r = fn(userdata, item_of(n)->key, item_of(n)->fd);
        return r;
}
