#pragma once

#include <stdint.h>

#include "base/tree.h"

/* The descriptors that svmd-keeper holds, by key. All zeroes: none. */
struct kept {
        struct tree tree;
        uint64_t count;
};

struct kept_item {
        struct tree_node node; /* in kept.tree, by key */
        uint64_t key;
        int fd;
};

/* Takes `fd` over on 0; what the key held before is closed. -ENOMEM. */
int kept_put(struct kept *k, uint64_t key, int fd);
/* Closes what the key holds, if it holds something. */
void kept_drop(struct kept *k, uint64_t key);
void kept_drop_all(struct kept *k);
/* The item with the lowest key that is `key` or above; NULL: none. */
struct kept_item *kept_from(const struct kept *k, uint64_t key);
/* The one with the next higher key; NULL: none. */
struct kept_item *kept_next(const struct kept_item *it);
