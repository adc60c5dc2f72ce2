#include "core/ids.h"

#include <errno.h>
#include <stddef.h>

#include "base/alloc.h"

static uint64_t home(const struct ids *ids, uint64_t id) {
        return (id * 0x9e3779b97f4a7c15ull >> 20) & (ids->size - 1);
}

void ids_fini(struct ids *ids) {
        alloc_free(ids->slots);
        *ids = (struct ids){ 0 };
}

static void place(struct ids *ids, struct object *o) {
        uint64_t i = home(ids, o->id);

        while (ids->slots[i])
                i = (i + 1) & (ids->size - 1);
        ids->slots[i] = o;
}

int ids_reserve(struct ids *ids, uint64_t more) {
        struct ids bigger = { .size = ids->size ? ids->size : 64 };

        while ((ids->count + more) * 4 > bigger.size * 3)
                bigger.size *= 2;
        if (bigger.size == ids->size)
                return 0;
        bigger.slots = alloc_array(bigger.size, sizeof(*bigger.slots));
        if (!bigger.slots)
                return -ENOMEM;
        for (uint64_t i = 0; i < ids->size; i++)
                if (ids->slots[i])
                        place(&bigger, ids->slots[i]);
        bigger.count = ids->count;
        alloc_free(ids->slots);
        *ids = bigger;
        return 0;
}

void ids_add(struct ids *ids, struct object *o) {
        place(ids, o);
        ids->count++;
}

/* Closes the gap that a removal leaves, so that no probe ends early: whatever could live at the gap moves there. */
static void close_gap(struct ids *ids, uint64_t gap) {
        uint64_t mask = ids->size - 1;

        for (uint64_t i = (gap + 1) & mask; ids->slots[i]; i = (i + 1) & mask) {
                uint64_t want = home(ids, ids->slots[i]->id);

                if (((i - want) & mask) < ((i - gap) & mask))
                        continue;
                ids->slots[gap] = ids->slots[i];
                gap = i;
        }
        ids->slots[gap] = NULL;
}

void ids_remove(struct ids *ids, struct object *o) {
        uint64_t i = home(ids, o->id);

        while (ids->slots[i] != o)
                i = (i + 1) & (ids->size - 1);
        close_gap(ids, i);
        ids->count--;
}

struct object *ids_find(const struct ids *ids, uint64_t id) {
        if (ids->size == 0)
                return NULL;
        for (uint64_t i = home(ids, id); ids->slots[i]; i = (i + 1) & (ids->size - 1))
                if (ids->slots[i]->id == id)
                        return ids->slots[i];
        return NULL;
}

/* Objects lie anywhere, so those that come next are asked for before it is their turn. */
struct object *ids_next(const struct ids *ids, uint64_t *at) {
        enum { AHEAD = 16 };

        while (*at < ids->size) {
                struct object *o = ids->slots[(*at)++];

                if (*at + AHEAD < ids->size)
                        __builtin_prefetch(ids->slots[*at + AHEAD]);
                if (o)
                        return o;
        }
        return NULL;
}
