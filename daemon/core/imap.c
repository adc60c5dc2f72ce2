#include "core/imap.h"

#include <errno.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/list.h"

/*
 * A change first widens its range over neighbours of the same value, then cuts everything in the
 * widened range away, then puts one entry there. Only one entry can lie across both ends of a range,
 * so cutting needs one new entry at most (for the tail of that one), and the value another one.
 */

static struct imap_entry *entry_of(const struct tree_node *n) {
        return n ? container_of(n, struct imap_entry, node) : NULL;
}

void imap_init(struct imap *m) {
        *m = (struct imap){ 0 };
}

static void drop(struct imap *m, struct imap_entry *e) {
        tree_remove(&m->tree, &e->node, NULL);
        m->count--;
        alloc_free(e);
}

void imap_clear(struct imap *m) {
        while (m->tree.root)
                drop(m, entry_of(m->tree.root));
}

int imap_spare_get(struct imap_spare *spare) {
        struct imap_entry *first = alloc_zero(sizeof(*first)), *second = first ? alloc_zero(sizeof(*second)) : NULL;

        if (!second) {
                alloc_free(first);
                return -ENOMEM;
        }
        spare->entry[0] = first;
        spare->entry[1] = second;
        return 0;
}

void imap_spare_put(struct imap_spare *spare) {
        for (int i = 0; i < 2; i++) {
                alloc_free(spare->entry[i]);
                spare->entry[i] = NULL;
        }
}

static struct imap_entry *spare_take(struct imap_spare *spare) {
        int i = spare->entry[0] ? 0 : 1;
        struct imap_entry *e = spare->entry[i];

        spare->entry[i] = NULL;
        return e;
}

/* Nothing may be set in [start, end). */
static void insert(struct imap *m, struct imap_entry *e, uint64_t start, uint64_t end, uint64_t value) {
        struct tree_node *parent = NULL, *n = m->tree.root;
        int side = 0;

        e->start = start;
        e->end = end;
        e->value = value;
        while (n) {
                parent = n;
                side = entry_of(n)->start < start;
                n = n->child[side];
        }
        tree_insert(&m->tree, parent, side, &e->node, NULL);
        m->count++;
}

static void widen(const struct imap *m, uint64_t *start, uint64_t *end, uint64_t value) {
        struct imap_entry *e;

        if (*start > 0) {
                e = imap_first_from(m, *start - 1);
                if (e && e->start < *start && e->value == value)
                        *start = e->start;
        }
        e = imap_first_from(m, *end);
        if (e && e->start <= *end && e->value == value)
                *end = e->end;
}

static void cut(struct imap *m, struct imap_spare *spare, uint64_t start, uint64_t end) {
        struct imap_entry *e = imap_first_from(m, start), *next;

        if (e && e->start < start) {
                uint64_t tail = e->end;

                e->end = start;
                if (tail > end) {
                        insert(m, spare_take(spare), end, tail, e->value);
                        return;
                }
                e = imap_next(e);
        }
        for (; e && e->end <= end; e = next) {
                next = imap_next(e);
                drop(m, e);
        }
        if (e && e->start < end)
                e->start = end;
}

void imap_set_with(struct imap *m, struct imap_spare *spare, uint64_t start, uint64_t end, uint64_t value) {
        if (value)
                widen(m, &start, &end, value);
        cut(m, spare, start, end);
        if (value)
                insert(m, spare_take(spare), start, end, value);
}

int imap_set(struct imap *m, uint64_t start, uint64_t end, uint64_t value) {
        struct imap_spare spare;
        int r;

        if (start >= end)
                return -EINVAL;
        r = imap_spare_get(&spare);
        if (r < 0)
                return r;
        imap_set_with(m, &spare, start, end, value);
        imap_spare_put(&spare);
        return 0;
}

uint64_t imap_get(const struct imap *m, uint64_t addr) {
        struct imap_entry *e = imap_first_from(m, addr);

        return e && e->start <= addr ? e->value : 0;
}

struct imap_entry *imap_first_from(const struct imap *m, uint64_t addr) {
        struct imap_entry *found = NULL;
        struct tree_node *n = m->tree.root;

        while (n) {
                struct imap_entry *e = entry_of(n);

                if (e->end > addr)
                        found = e;
                n = n->child[e->end <= addr];
        }
        return found;
}

struct imap_entry *imap_next(const struct imap_entry *e) {
        return entry_of(tree_next(&e->node));
}

int imap_check(const struct imap *m) {
        const struct imap_entry *e = imap_first_from(m, 0), *before = NULL;
        uint64_t count = 0;

        for (; e; before = e, e = imap_next(e)) {
                if (e->start >= e->end || !e->value)
                        return -EUCLEAN;
                if (before && before->end > e->start)
                        return -EUCLEAN;
                if (before && before->end == e->start && before->value == e->value)
                        return -EUCLEAN;
                count++;
        }
        if (count != m->count || tree_check(&m->tree) != (long)count)
                return -EUCLEAN;
        return 0;
}
