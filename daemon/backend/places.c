#include <errno.h>
#include <pthread.h>

#include "backend/private.h"
#include "base/alloc.h"
#include "base/clock.h"

/* A byte a page: what it was seen as, and for two of them the file's number. */
struct places {
        pthread_mutex_t lock;
        unsigned users;
        uint64_t pages, seen_ns;
        uint64_t count[PLACES_END][PRIVATE_FILES];
        uint8_t *at;
};

static uint8_t pack(struct place_seen seen) {
        return (uint8_t)(seen.place << 4 | seen.file);
}

static struct place_seen unpack(uint8_t byte) {
        return (struct place_seen){ .place = (enum place)(byte >> 4), .file = byte & 15 };
}
_Static_assert(PRIVATE_FILES <= 16 && PLACES_END <= 16, "both fit into a byte");

int places_new(struct places **ret, uint64_t pages) {
        struct places *p = alloc_zero(sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->at = alloc_array(pages, sizeof(*p->at));
        if (!p->at) {
                alloc_free(p);
                return -ENOMEM;
        }
        p->users = 1;
        p->pages = pages;
        p->count[PLACE_UNSEEN][0] = pages;
        pthread_mutex_init(&p->lock, NULL);
        *ret = p;
        return 0;
}

struct places *places_hold(struct places *p) {
        pthread_mutex_lock(&p->lock);
        p->users++;
        pthread_mutex_unlock(&p->lock);
        return p;
}

void places_drop(struct places *p) {
        bool last;

        pthread_mutex_lock(&p->lock);
        last = --p->users == 0;
        pthread_mutex_unlock(&p->lock);
        if (!last)
                return;
        pthread_mutex_destroy(&p->lock);
        alloc_free(p->at);
        alloc_free(p);
}

void places_set(struct places *p, uint64_t first, const struct place_seen *seen, uint32_t count) {
        pthread_mutex_lock(&p->lock);
        for (uint32_t i = 0; i < count; i++) {
                struct place_seen was = unpack(p->at[first + i]);

                p->count[was.place][was.file]--;
                p->count[seen[i].place][seen[i].file]++;
                p->at[first + i] = pack(seen[i]);
        }
        p->seen_ns = clock_ns(CLOCK_MONOTONIC);
        pthread_mutex_unlock(&p->lock);
}

struct place_seen places_get(struct places *p, uint64_t page) {
        struct place_seen seen;

        pthread_mutex_lock(&p->lock);
        seen = unpack(p->at[page]);
        pthread_mutex_unlock(&p->lock);
        return seen;
}

void places_copy(struct places *p, uint64_t first, struct place_seen *ret, uint32_t count) {
        pthread_mutex_lock(&p->lock);
        for (uint32_t i = 0; i < count; i++)
                ret[i] = unpack(p->at[first + i]);
        pthread_mutex_unlock(&p->lock);
}

uint64_t places_run(struct places *p, uint64_t page, uint64_t most, struct place_seen *ret) {
        uint64_t end = page + 1, stop = page + most;

        pthread_mutex_lock(&p->lock);
        while (end < stop && p->at[end] == p->at[page])
                end++;
        *ret = unpack(p->at[page]);
        pthread_mutex_unlock(&p->lock);
        return end - page;
}

uint64_t places_count(struct places *p, enum place place, unsigned file) {
        uint64_t n;

        pthread_mutex_lock(&p->lock);
        n = p->count[place][file];
        pthread_mutex_unlock(&p->lock);
        return n;
}

uint64_t places_seen_ns(struct places *p) {
        uint64_t ns;

        pthread_mutex_lock(&p->lock);
        ns = p->seen_ns;
        pthread_mutex_unlock(&p->lock);
        return ns;
}
