#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/tree.h"

/*
 * A map from ranges of addresses to a value. 0 means nothing is set. Neighbours of the same value
 * are one entry; setting part of an entry splits it. Used for what is an attribute of an address
 * and not an object of its own (advice, sparse regions).
 */
struct imap {
        struct tree tree;
        uint64_t count; /* entries */
};

struct imap_entry {
        struct tree_node node;
        uint64_t start, end; /* [start, end) */
        uint64_t value;      /* not 0 */
};

/* At most two entries are needed by one change; they are taken before anything changes. */
struct imap_spare {
        struct imap_entry *entry[2];
};

void imap_init(struct imap *m);
void imap_clear(struct imap *m);

int imap_spare_get(struct imap_spare *spare); /* 0 or -ENOMEM */
void imap_spare_put(struct imap_spare *spare);

/* Sets [start, end) to `value` (0 clears). Cannot fail with a full spare, from which it takes what it needs. start <
 * end. */
void imap_set_with(struct imap *m, struct imap_spare *spare, uint64_t start, uint64_t end, uint64_t value);
/* The same with its own spare: 0, -ENOMEM (nothing changed), or -EINVAL when start >= end. */
int imap_set(struct imap *m, uint64_t start, uint64_t end, uint64_t value);

uint64_t imap_get(const struct imap *m, uint64_t addr);
/* The first entry that ends above `addr`, or NULL. */
struct imap_entry *imap_first_from(const struct imap *m, uint64_t addr);
struct imap_entry *imap_next(const struct imap_entry *e);

/* Order, no overlap, no two equal neighbours, count. 0 or -EUCLEAN. For tests. */
int imap_check(const struct imap *m);
