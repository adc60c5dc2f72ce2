#include "drm_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drm_model.h"

static int room_for_one(struct drm_rows *r) {
        size_t room = r->room ? r->room * 2 : 16;
        struct drm_row *row;

        if (r->count < r->room)
                return 0;
        row = realloc(r->row, room * sizeof(*row));
        if (!row)
                return -ENOMEM;
        r->row = row;
        r->room = room;
        return 0;
}

void rows_remove(struct drm_rows *r, size_t i) {
        drm_object_drop(r->row[i].object);
        memmove(&r->row[i], &r->row[i + 1], (r->count - i - 1) * sizeof(*r->row));
        r->count--;
}

void rows_clear(struct drm_rows *r) {
        for (size_t i = 0; i < r->count; i++)
                drm_object_drop(r->row[i].object);
        free(r->row);
        *r = (struct drm_rows){ 0 };
}

int rows_copy(struct drm_rows *ret, const struct drm_rows *from) {
        *ret = (struct drm_rows){ 0 };
        if (from->count == 0)
                return 0;
        ret->row = malloc(from->count * sizeof(*ret->row));
        if (!ret->row)
                return -ENOMEM;
        memcpy(ret->row, from->row, from->count * sizeof(*ret->row));
        ret->count = ret->room = from->count;
        for (size_t i = 0; i < ret->count; i++)
                drm_object_hold(ret->row[i].object);
        return 0;
}

/* The index of the first that ends above the address. */
static size_t find(const struct drm_rows *r, uint64_t address) {
        size_t low = 0, high = r->count;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (r->row[middle].end > address)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low;
}

struct drm_row *rows_from(const struct drm_rows *r, uint64_t address) {
        size_t i = find(r, address);

        return i < r->count ? &r->row[i] : NULL;
}

bool rows_overlap(const struct drm_rows *r, uint64_t start, uint64_t end) {
        const struct drm_row *row = rows_from(r, start);

        return row && row->start < end;
}

static int insert(struct drm_rows *r, size_t at, const struct drm_row *row) {
        int k = room_for_one(r);

        if (k < 0)
                return k;
        memmove(&r->row[at + 1], &r->row[at], (r->count - at) * sizeof(*r->row));
        r->row[at] = *row;
        drm_object_hold(row->object);
        r->count++;
        return 0;
}

int rows_add(struct drm_rows *r, const struct drm_row *row) {
        return insert(r, find(r, row->start), row);
}

int rows_split(struct drm_rows *r, uint64_t address) {
        size_t i = find(r, address);
        struct drm_row tail;
        int k;

        if (i == r->count || r->row[i].start >= address)
                return 0;
        tail = r->row[i];
        tail.offset += address - tail.start;
        tail.start = address;
        k = insert(r, i + 1, &tail);
        if (k == 0)
                r->row[i].end = address;
        return k;
}

int rows_cut(struct drm_rows *r, uint64_t start, uint64_t end) {
        int k = rows_split(r, start);

        if (k == 0)
                k = rows_split(r, end);
        if (k < 0)
                return k;
        for (size_t i = find(r, start); i < r->count && r->row[i].start < end;)
                rows_remove(r, i);
        return 0;
}

void rows_remove_object(struct drm_rows *r, const struct drm_object *object) {
        for (size_t i = r->count; i-- > 0;)
                if (r->row[i].object == object)
                        rows_remove(r, i);
}
