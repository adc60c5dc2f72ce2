#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/drm_bind.h"
#include "core/imap.h"

/*
 * A page table of a client's file, and what svmd has bound in it. One thread changes it, the one that calls the driver,
 * and others may look. The books are right as long as the client leaves the page table alone, which nothing makes it
 * do: drm_space_audit() compares them with what the driver tells.
 */
struct drm_space;

enum { DRM_HANDLES_END = 1 << 25 }; /* handles that svmd binds are below */

/* The books begin empty; with `lost` svmd does not know what is bound. -ENOMEM. */
int drm_space_new(struct drm_space **ret, uint32_t number, bool lost);
/* Before others have it. */
void drm_space_set_number(struct drm_space *s, uint32_t number);
struct drm_space *drm_space_hold(struct drm_space *s);
/* NULL is allowed. */
void drm_space_drop(struct drm_space *s);
uint32_t drm_space_number(const struct drm_space *s);

/* As drm_bind(). What is not to replace anything is refused where svmd has bound something, with -EEXIST, also by
 * drivers that would replace it without a word. */
int drm_space_bind(struct drm_space *s, const struct drm_bind_driver *d, int fd, const struct drm_binding *list,
                   uint32_t count, uint32_t *ret_done);
/* Its process has bound these itself. What the books need for it is there: drm_room_get() of as many, or -ENOMEM. */
void drm_space_told(struct drm_space *s, struct imap_spare *room, const struct drm_binding *list, uint32_t count);
int drm_room_get(struct imap_spare *room, uint32_t count);
void drm_room_put(struct imap_spare *room, uint32_t count);
/* Unmaps all in [start, start + size), and destroys it if told so. Nothing is bound in it any more: -ENOENT, also if
 * the driver has given its number to another since. */
int drm_space_end(struct drm_space *s, const struct drm_bind_driver *d, int fd, uint64_t start, uint64_t size,
                  bool destroy);
/* Whether it mirrors all of that; also where svmd does not know. */
bool drm_space_mirrors(struct drm_space *s, uint64_t start, uint64_t size);
/* Bytes that svmd has bound; false: it does not know of all of it. */
bool drm_space_bytes(struct drm_space *s, uint64_t *ret);

struct drm_audit {
        uint64_t foreign, missing, moved; /* bytes: of others, gone, of something else than svmd bound */
        uint64_t first;                   /* address of the first of them */
        uint64_t elsewhere;               /* bytes of svmd's, of memory that is placed outside of the device's */
        bool lost;                        /* svmd does not know what it bound: all that is there counts as foreign */
        bool contents;                    /* the driver tells of what a binding is */
};
/* Compares them in [start, start + size). -errno of the driver's. */
int drm_space_audit(struct drm_space *s, const struct drm_bind_driver *d, int fd, uint64_t start, uint64_t size,
                    struct drm_audit *ret);
