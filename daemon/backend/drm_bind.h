#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/vmap.h"

/*
 * Page tables of DRM drivers, changed by an open file of a client's that svmd has a duplicate of. A page table belongs
 * to the open file, not to a process: whoever has a duplicate changes it, and numbers of it (page tables, handles) mean
 * nothing in another file. So nothing here keeps anything per device, and no library that does is used: libdrm_amdgpu
 * takes two files of one GPU for the same, and would change the page table of whoever came first.
 *
 * Every call may wait for the driver, and for the client that holds its locks: not for the thread that serves others.
 */
struct drm_binding {
        enum drm_bind_what {
                DRM_BIND_MAP,
                DRM_BIND_UNMAP, /* whatever is in the range; nothing there is no failure */
                DRM_BIND_EMPTY, /* as MAP, of nothing: reads are zero, writes vanish */
        } what;
        uint32_t handle; /* of the file */
        bool replace;    /* MAP, EMPTY: what is mapped there gives way. Without it some drivers say that something is */
        struct map_attrs attrs;
        uint64_t address, size, offset; /* whole pages */
};

enum { DRM_VECTOR_MAX = 1024 };

/* A driver's. -errno of the driver's, throughout. */
struct drm_bind_driver {
        const char *name;
        bool many_spaces; /* else a file is one page table, whose number is 0 */
        int (*space_new)(int fd, uint32_t *ret_space);
        int (*space_free)(int fd, uint32_t space);
        /* Memory of the device. */
        int (*memory_new)(int fd, uint64_t size, uint32_t *ret_handle);
        /* At most DRM_VECTOR_MAX. *ret_done of them, the first ones, are in force, whatever it returns. */
        int (*bind)(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done);
        /* Whether it knows these: true, or false with a sentence. */
        bool (*attrs_ok)(const struct map_attrs *attrs, char *why, unsigned why_size);
};

/* By the name that the driver's version has. NULL: svmd binds on none of that. */
const struct drm_bind_driver *drm_bind_driver(const char *name);

/* All of it, in as few calls as the driver takes: ENOBUFS halves what is asked at a time. Else as `bind`. */
int drm_bind(const struct drm_bind_driver *d, int fd, uint32_t space, const struct drm_binding *list, uint32_t count,
             uint32_t *ret_done);
/* What an error of the above means, and what to do: words that follow the driver's name. */
const char *drm_bind_error(int error);

/* ---- files ---- */

/* Whether it is an open `path` of that driver: true, or false with a sentence. */
bool drm_file_is(const char *path, const char *driver, int fd, char *why, unsigned why_size);
/* Whether descriptor `theirs` of the process is the same open file: 1, 0, -errno. */
int drm_file_is_of(pid_t process, int theirs, int fd);
/* A handle of a dma-buf, the same for each time it comes. -errno. */
int drm_file_import(int fd, int dmabuf, uint32_t *ret_handle);
int drm_file_release(int fd, uint32_t handle);

extern const struct drm_bind_driver drm_bind_xe, drm_bind_amdgpu, drm_bind_nouveau;
