#include "backend/soft/views.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"

enum { FIRST_ROOM = 4 };

void views_fini(struct soft_views *v) {
        alloc_free(v->view);
        *v = (struct soft_views){ 0 };
}

/* The first that ends above `va`. */
static uint32_t first_from(const struct soft_views *v, uint64_t va) {
        uint32_t low = 0, high = v->count;

        while (low < high) {
                uint32_t middle = low + (high - low) / 2;

                if (v->view[middle].end > va)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low;
}

static int make_room(struct soft_views *v) {
        uint32_t room = v->room ? v->room * 2 : FIRST_ROOM;
        struct soft_view *grown;

        if (v->count < v->room)
                return 0;
        grown = alloc_grow(v->view, v->room * sizeof(*grown), room * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        v->view = grown;
        v->room = room;
        return 0;
}

int views_set(struct soft_views *v, const struct soft_view *view) {
        uint32_t i = first_from(v, view->start);
        int r;

        if (i < v->count && v->view[i].range == view->range) {
                v->view[i].write = view->write;
                return 0;
        }
        if (i < v->count && v->view[i].start < view->end)
                return -EEXIST;
        r = make_room(v);
        if (r < 0)
                return r;
        memmove(&v->view[i + 1], &v->view[i], (v->count - i) * sizeof(*view));
        v->view[i] = *view;
        v->count++;
        return 0;
}

void views_remove(struct soft_views *v, const struct device_range *range) {
        for (uint32_t i = 0; i < v->count; i++) {
                if (v->view[i].range != range)
                        continue;
                v->count--;
                memmove(&v->view[i], &v->view[i + 1], (v->count - i) * sizeof(*v->view));
                return;
        }
}

const struct soft_view *views_find(const struct soft_views *v, uint64_t va) {
        uint32_t i = first_from(v, va);

        return i < v->count && v->view[i].start <= va ? &v->view[i] : NULL;
}
