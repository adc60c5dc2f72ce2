#include "account/sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct term {
        const char *key, *node;
        uint64_t page_ms, held, peak;
};

static int by_name(const void *a, const void *b) {
        const struct term *x = a, *y = b;
        int k = x->key == y->key ? 0 : strcmp(x->key, y->key);

        return k ? k : x->node == y->node ? 0 : strcmp(x->node, y->node);
}

static int by_size(const void *a, const void *b) {
        const struct history_record *x = a, *y = b;

        if (x->page_ms != y->page_ms)
                return x->page_ms < y->page_ms ? 1 : -1;
        if (x->peak != y->peak)
                return x->peak < y->peak ? 1 : -1;
        return strcmp(x->key, y->key);
}

static uint64_t plus(uint64_t a, uint64_t b) {
        uint64_t sum;

        /* What the database can hold. */
        return __builtin_add_overflow(a, b, &sum) || sum > INT64_MAX ? INT64_MAX : sum;
}

static size_t sum_way(struct term *terms, size_t count, enum history_by by, struct history_record *to) {
        size_t n = 0;

        qsort(terms, count, sizeof(*terms), by_name);
        for (size_t i = 0; i < count;) {
                struct history_record r = { .by = by, .key = terms[i].key, .node = terms[i].node };
                uint64_t held = 0;
                size_t first = i;

                for (; i < count && by_name(&terms[first], &terms[i]) == 0; i++) {
                        r.page_ms = plus(r.page_ms, terms[i].page_ms);
                        held = plus(held, terms[i].held);
                        if (terms[i].peak > r.peak)
                                r.peak = plus(terms[i].peak, 0);
                }
                r.peak = held > r.peak ? held : r.peak;
                if (r.page_ms || r.peak)
                        to[n++] = r;
        }
        qsort(to, n, sizeof(*to), by_size);
        return n;
}

int sum_up(const struct sum_part *parts, size_t count, struct history_record **ret, size_t *ret_count) {
        struct history_record *records = alloc_array(count * HISTORY_BYS + 1, sizeof(*records));
        struct term *terms = alloc_array(count + 1, sizeof(*terms));
        size_t n = 0;

        if (!records || !terms) {
                alloc_free(records);
                alloc_free(terms);
                return -ENOMEM;
        }
        for (unsigned by = 0; by < HISTORY_BYS; by++) {
                for (size_t i = 0; i < count; i++)
                        terms[i] = (struct term){ .key = by == HISTORY_BY_NODE ? parts[i].node : parts[i].who->keys[by],
                                                  .node = parts[i].node,
                                                  .page_ms = parts[i].page_ms,
                                                  .held = parts[i].held,
                                                  .peak = parts[i].peak };
                n += sum_way(terms, count, by, records + n);
        }
        alloc_free(terms);
        *ret = records;
        *ret_count = n;
        return 0;
}
