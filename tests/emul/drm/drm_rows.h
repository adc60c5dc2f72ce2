#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a page table of an emulated driver shows: rows in the order of their addresses that never overlap. What is cut
 * out of a row leaves its head and its tail, each with the part of the object that it showed.
 */
struct drm_object;

enum drm_row_kind { ROW_OBJECT, ROW_USERPTR, ROW_NULL, ROW_MIRROR };

/* What xe keeps of a mirrored range. */
struct drm_advice {
        int32_t device_fd;
        uint32_t policy, atomic, pat;
};

struct drm_row {
        uint64_t start, end, offset; /* in the object, or the address of a userptr */
        enum drm_row_kind kind;
        struct drm_object *object; /* held */
        uint32_t flags;
        uint16_t pat;
        uint64_t mm;     /* USERPTR, MIRROR: whose memory */
        uint32_t region; /* last prefetched to, + 1 */
        struct drm_advice advice;
};

struct drm_rows {
        struct drm_row *row;
        size_t count, room;
};

void rows_clear(struct drm_rows *r);
/* -ENOMEM. */
int rows_copy(struct drm_rows *ret, const struct drm_rows *from);
/* Nothing is shown in [start, end) any more. -ENOMEM. */
int rows_cut(struct drm_rows *r, uint64_t start, uint64_t end);
/* Nothing may be shown there. Holds the row's object. -ENOMEM. */
int rows_add(struct drm_rows *r, const struct drm_row *row);
/* The first that ends above `address`, or NULL. */
struct drm_row *rows_from(const struct drm_rows *r, uint64_t address);
bool rows_overlap(const struct drm_rows *r, uint64_t start, uint64_t end);
/* A row begins at `address`, if one is shown there; its parts stay alike. -ENOMEM. */
int rows_split(struct drm_rows *r, uint64_t address);
/* Takes the i-th away. */
void rows_remove(struct drm_rows *r, size_t i);
void rows_remove_object(struct drm_rows *r, const struct drm_object *object);
