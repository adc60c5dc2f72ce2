#pragma once

#include <stdatomic.h>
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
 *
 * The same code runs in svmd, by its duplicate, and in libsvmd, by the client's own descriptor and under a grant: there
 * without libdrm, so what needs it is in drm_file.c.
 */
struct drm_binding {
        enum drm_bind_what {
                DRM_BIND_MAP,
                DRM_BIND_UNMAP,    /* whatever is in the range; nothing there is no failure */
                DRM_BIND_EMPTY,    /* as MAP, of nothing: reads are zero, writes vanish */
                DRM_BIND_MIRROR,   /* as MAP, of what the process has there itself */
                DRM_BIND_PREFETCH, /* what is mirrored comes to the device; `value` 0: where advice says, 1: its own
                                    * memory, 2: the system's */
                DRM_BIND_ADVISE,   /* `advice` of what is mirrored is `value` from now on */
                DRM_BIND_PLACE, /* the memory of `handle` belongs in the device's, if `value` is 1, in the system's, if
                                 * 2, or in either; at no address */
        } what;
        uint32_t handle; /* of the file */
        bool replace;    /* MAP, EMPTY: what is mapped there gives way. Without it some drivers say that something is */
        struct map_attrs attrs;
        uint64_t address, size, offset; /* whole pages */
        enum drm_bind_advice { DRM_ADVICE_PREFERRED, DRM_ADVICE_ATOMIC, DRM_ADVICE_CACHING } advice;
        uint32_t value; /* PREFERRED: 1 its own memory, 2 the system's. ATOMIC: 0 to 3, CACHING: a pat */
};
#define DRM_CAN(what) (1u << DRM_BIND_##what)

enum { DRM_VECTOR_MAX = 1024 };

/* What a driver says that a page table shows. */
struct drm_seen {
        uint64_t address, size, offset;
        uint32_t handle; /* where it tells_memory, as `offset` */
        bool elsewhere;  /* that memory may not lie in the device's */
};

/* A driver's. -errno of the driver's, throughout. */
struct drm_bind_driver {
        const char *name;
        bool many_spaces;  /* else a file is one page table, whose number is 0 */
        unsigned can;      /* DRM_CAN() of bindings that it takes */
        bool tells_memory; /* `read` says of what a binding is, and leaves out those of nothing */
        int (*space_new)(int fd, uint32_t *ret_space);
        /* Whether there is one of that number. 0, -ENOENT. */
        int (*space_look)(int fd, uint32_t space);
        int (*space_free)(int fd, uint32_t space);
        /* Memory of the device. */
        int (*memory_new)(int fd, uint64_t size, uint32_t *ret_handle);
        /* At most DRM_VECTOR_MAX. *ret_done of them, the first ones, are in force, whatever it returns. */
        int (*bind)(int fd, uint32_t space, const struct drm_binding *list, uint32_t count, uint32_t *ret_done);
        /* What is shown in [start, start + size), in any order; alloc_free(*ret). -EOPNOTSUPP: it does not tell. NULL:
         * no such driver does. */
        int (*read)(int fd, uint32_t space, uint64_t start, uint64_t size, struct drm_seen **ret, uint32_t *ret_count);
        /* Whether it knows these: true, or false with a sentence. */
        bool (*attrs_ok)(const struct map_attrs *attrs, char *why, unsigned why_size);
};

/* One call of a driver: 0, -errno. */
int drm_call(int fd, unsigned long request, void *arg);

/* By the name that the driver's version has. NULL: svmd binds on none of that. */
const struct drm_bind_driver *drm_bind_driver(const char *name);

/*
 * All of it, in as few calls as the driver takes. What is refused is halved: ENOBUFS until it is taken, anything else
 * until one binding is left, which is then the one that is refused, whatever the driver does with vectors. Else as
 * `bind`.
 */
int drm_bind(const struct drm_bind_driver *d, int fd, uint32_t space, const struct drm_binding *list, uint32_t count,
             uint32_t *ret_done);
/* Waits until the file's fence `handle` has reached `point` (0: a plain one is signalled); it may not have been given
 * work yet. Until then, or *stop (-EINTR), or -ETIME after `wait_ms`. */
int drm_sync_wait(int fd, uint32_t handle, uint64_t point, unsigned wait_ms, const atomic_bool *stop);
int drm_sync_signal(int fd, uint32_t handle, uint64_t point);
/* What an error of the above means, and what to do: words that follow the driver's name. */
const char *drm_bind_error(int error);

/* ---- files ---- */

/* Whether it is an open `path` of that driver: true, or false with a sentence. */
bool drm_file_is(const char *path, const char *driver, int fd, char *why, unsigned why_size);
/* Whether descriptor `theirs` of the process is the same open file: 1, 0, -errno. */
int drm_file_is_of(pid_t process, int theirs, int fd);
/* A handle of a dma-buf, the same for each time it comes. -errno. */
int drm_file_import(int fd, int dmabuf, uint32_t *ret_handle);
/* Memory, imported or made: it lives on while a page table shows it, on xe. */
int drm_file_release(int fd, uint32_t handle);

extern const struct drm_bind_driver drm_bind_xe, drm_bind_amdgpu, drm_bind_nouveau;
