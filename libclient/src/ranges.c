#include "ranges.h"

#include <stddef.h>

/*
 * A treap: ordered by address, and a heap by a weight that is a hash of the address, so its depth is logarithmic
 * whatever the order of insertions. Everything is done by cutting a tree in two and joining two trees. The ends of a
 * range may be moved while it is in the tree, as long as the order stays.
 */
static uint32_t hash(uint64_t key) {
        key ^= key >> 31;
        key *= 0x7fb5d329728ea185u;
        key ^= key >> 27;
        key *= 0x81dadef4bc2dd44du;
        return (uint32_t)(key >> 32);
}

struct range *ranges_find(const struct ranges *t, uint64_t start, uint64_t end) {
        struct range *r = t->root, *found = NULL;

        while (r) {
                if (r->end <= start) {
                        r = r->right;
                } else {
                        found = r;
                        r = r->left;
                }
        }
        return found && found->start < end && start < end ? found : NULL;
}

/* What lies before `start` goes to the left. */
static void cut(struct range *t, uint64_t start, struct range **left, struct range **right) {
        while (t) {
                if (t->start < start) {
                        *left = t;
                        left = &t->right;
                        t = t->right;
                } else {
                        *right = t;
                        right = &t->left;
                        t = t->left;
                }
        }
        *left = *right = NULL;
}

static struct range *join(struct range *left, struct range *right) {
        struct range *root, **at = &root;

        while (left && right) {
                if (left->weight > right->weight) {
                        *at = left;
                        at = &left->right;
                        left = left->right;
                } else {
                        *at = right;
                        at = &right->left;
                        right = right->left;
                }
        }
        *at = left ? left : right;
        return root;
}

void ranges_insert(struct ranges *t, struct range *r) {
        struct range **at = &t->root;

        r->weight = hash(r->start);
        while (*at && (*at)->weight >= r->weight)
                at = r->start < (*at)->start ? &(*at)->left : &(*at)->right;
        cut(*at, r->start, &r->left, &r->right);
        *at = r;
}

void ranges_remove(struct ranges *t, struct range *r) {
        struct range **at = &t->root;

        while (*at != r)
                at = r->start < (*at)->start ? &(*at)->left : &(*at)->right;
        *at = join(r->left, r->right);
}
