#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "oracle.h"

/*
 * Both are one machine: a heap of what is resident, the granule with the greatest key on top. For MIN the key is when
 * it is used next; for LRU how far back its last use lies, as UINT64_MAX less its time; for LRU that sees faults alone
 * how far back its last fault does.
 */
struct heap {
        uint32_t *granule; /* by place */
        uint32_t *place;   /* by granule, plus one; 0: not resident */
        uint64_t *key;     /* by granule */
        uint32_t count;
};

static void put(struct heap *h, uint32_t place, uint32_t granule) {
        h->granule[place] = granule;
        h->place[granule] = place + 1;
}

static void sift_up(struct heap *h, uint32_t place) {
        uint32_t granule = h->granule[place];

        while (place && h->key[h->granule[(place - 1) / 2]] < h->key[granule]) {
                put(h, place, h->granule[(place - 1) / 2]);
                place = (place - 1) / 2;
        }
        put(h, place, granule);
}

static void sift_down(struct heap *h, uint32_t place) {
        uint32_t granule = h->granule[place];

        for (uint32_t child = 2 * place + 1; child < h->count; child = 2 * place + 1) {
                if (child + 1 < h->count && h->key[h->granule[child + 1]] > h->key[h->granule[child]])
                        child++;
                if (h->key[h->granule[child]] <= h->key[granule])
                        break;
                put(h, place, h->granule[child]);
                place = child;
        }
        put(h, place, granule);
}

static void evict(struct heap *h) {
        h->place[h->granule[0]] = 0;
        if (--h->count) {
                put(h, 0, h->granule[h->count]);
                sift_down(h, 0);
        }
}

static bool use(struct heap *h, uint32_t memory, uint32_t granule, uint64_t key, bool seen) {
        uint32_t place = h->place[granule];

        if (place && !seen)
                return false;
        if (place) {
                h->key[granule] = key;
                sift_up(h, place - 1);
                sift_down(h, h->place[granule] - 1);
                return false;
        }
        if (h->count == memory)
                evict(h);
        h->key[granule] = key;
        h->granule[h->count++] = granule;
        sift_up(h, h->count - 1);
        return true;
}

/* For each use, when its granule is used next. */
static uint64_t *next_uses(const struct trace *t) {
        uint64_t *next = malloc((t->uses + 1ull) * sizeof(*next)), *last = malloc(t->granules * sizeof(*last));

        for (uint32_t i = 0; last && i < t->granules; i++)
                last[i] = UINT64_MAX;
        for (uint32_t i = t->uses; next && last && i-- > 0;) {
                next[i] = last[t->use[i]];
                last[t->use[i]] = i;
        }
        if (!last) {
                free(next);
                next = NULL;
        }
        free(last);
        return next;
}

static int run(const struct trace *t, uint32_t memory, const uint64_t *next, bool seen, uint64_t *ret) {
        struct heap h = { .granule = calloc(t->granules, sizeof(*h.granule)),
                          .place = calloc(t->granules, sizeof(*h.place)),
                          .key = calloc(t->granules, sizeof(*h.key)) };
        bool made = h.granule && h.place && h.key;
        uint64_t fetched = 0;

        for (uint32_t i = 0; made && i < t->uses; i++)
                fetched += use(&h, memory, t->use[i], next ? next[i] : UINT64_MAX - i, seen);
        free(h.granule);
        free(h.place);
        free(h.key);
        if (made)
                *ret = fetched;
        return made ? 0 : -ENOMEM;
}

int oracle_min(const struct trace *t, uint32_t memory, uint64_t *ret) {
        uint64_t *next = next_uses(t);
        int k = next ? run(t, memory, next, true, ret) : -ENOMEM;

        free(next);
        return k;
}

int oracle_lru(const struct trace *t, uint32_t memory, uint64_t *ret) {
        return run(t, memory, NULL, true, ret);
}

int oracle_lru_of_faults(const struct trace *t, uint32_t memory, uint64_t *ret) {
        return run(t, memory, NULL, false, ret);
}
