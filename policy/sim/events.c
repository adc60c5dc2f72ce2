#include "policy/sim/world.h"

/* A heap of what will happen. */
static bool before(const struct happens *a, const struct happens *b) {
        return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void exchange(struct happens *a, struct happens *b) {
        struct happens c = *a;

        *a = *b;
        *b = c;
}

void happens_at(struct world *w, uint64_t at, enum happening what, void *whom) {
        size_t i = w->heap_count++;

        if (i == w->heap_room)
                w->heap = sim_grow(w->heap, &w->heap_room, sizeof(*w->heap));
        w->heap[i] = (struct happens){ .at = at, .number = w->numbers++, .what = what, .actor = whom };
        for (; i && before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
                exchange(&w->heap[i], &w->heap[(i - 1) / 2]);
}

bool happens_next(struct world *w, struct happens *ret) {
        size_t i = 0;

        if (!w->heap_count)
                return false;
        *ret = w->heap[0];
        w->heap[0] = w->heap[--w->heap_count];
        for (;;) {
                size_t least = i;

                for (size_t k = 2 * i + 1; k <= 2 * i + 2; k++)
                        if (k < w->heap_count && before(&w->heap[k], &w->heap[least]))
                                least = k;
                if (least == i)
                        return true;
                exchange(&w->heap[i], &w->heap[least]);
                i = least;
        }
}
