#include "fold.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "need.h"

void fold_init(struct fold *f, size_t nodes) {
        *f = (struct fold){ .nodes = nodes };
}

static int by_key(const void *a, const void *b) {
        const struct fold_row *x = a, *y = b;
        int order = 0;

        for (unsigned i = 0; !order && i < FOLD_KEYS; i++)
                order = strcmp(x->key[i], y->key[i]);
        return order;
}

static int largest_first(const void *a, const void *b) {
        const struct fold_row *x = a, *y = b;

        if (x->sum != y->sum)
                return x->sum < y->sum ? 1 : -1;
        return by_key(a, b);
}

static struct fold_row *row_new(struct fold *f, const char *const key[FOLD_KEYS]) {
        struct fold_row *row = need(calloc(1, sizeof(*row)));

        for (unsigned i = 0; i < FOLD_KEYS; i++)
                row->key[i] = need(strdup(key[i] ? key[i] : ""));
        row->bytes = need(calloc(f->nodes + 1, sizeof(*row->bytes)));
        f->count++;
        return row;
}

void fold_add(struct fold *f, const char *const key[FOLD_KEYS], size_t node, uint64_t bytes) {
        struct fold_row wanted = { 0 }, **found;

        for (unsigned i = 0; i < FOLD_KEYS; i++)
                wanted.key[i] = key[i] ? key[i] : "";
        found = tfind(&wanted, &f->tree, by_key);
        if (!found)
                found = need(tsearch(row_new(f, key), &f->tree, by_key));
        if (node >= f->nodes) {
                (*found)->beside += bytes;
                return;
        }
        (*found)->bytes[node] += bytes;
        (*found)->sum += bytes;
}

static void row_free(struct fold_row *row) {
        for (unsigned i = 0; i < FOLD_KEYS; i++)
                free((char *)row->key[i]);
        free(row->bytes);
}

static void row_join(const struct fold *f, struct fold_row *to, struct fold_row *row) {
        for (size_t i = 0; i < f->nodes; i++)
                to->bytes[i] += row->bytes[i];
        to->sum += row->sum;
        to->beside += row->beside;
        row_free(row);
}

/* Out of the tree, into an array with a place more. */
static void gather(struct fold *f) {
        f->rows = need(calloc(f->count + 1, sizeof(*f->rows)));
        for (size_t i = 0; f->tree; i++) {
                struct fold_row *row = *(struct fold_row **)f->tree;

                f->rows[i] = *row;
                tdelete(row, &f->tree, by_key);
                free(row);
        }
}

void fold_close(struct fold *f, size_t most) {
        struct fold_row other = { 0 };

        gather(f);
        qsort(f->rows, f->count, sizeof(*f->rows), largest_first);
        if (f->count <= most)
                return;
        for (unsigned i = 0; i < FOLD_KEYS; i++)
                other.key[i] = need(strdup("other"));
        other.bytes = need(calloc(f->nodes + 1, sizeof(*other.bytes)));
        f->folded = f->count - most;
        for (size_t i = most; i < f->count; i++)
                row_join(f, &other, &f->rows[i]);
        f->rows[most] = other;
        f->count = most + 1;
}

void fold_free(struct fold *f) {
        for (size_t i = 0; i < f->count; i++)
                row_free(&f->rows[i]);
        free(f->rows);
        *f = (struct fold){ 0 };
}
