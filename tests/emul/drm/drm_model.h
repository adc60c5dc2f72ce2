#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drm_rows.h"

/*
 * DRM drivers as their programs see them, without hardware: what an ioctl on a render node answers, and what is mapped
 * afterwards. A model reads and writes its caller's memory by what the caller gives; beside that it is pure.
 *
 *      card (a GPU: memory, links) <- file (one open: handles, page tables) <- drm_file_ioctl()
 *
 * Each rule has the number of the fact in docs/devices.md that it stands for.
 */
struct drm_file;
struct drm_driver;

/* The number of a rule that does not hold ("X3"), for the test of the tests; NULL: all do. */
extern const char *drm_broken;
bool drm_rule(const char *number);

/* A descriptor of the caller: a dma-buf, or a file of a device of this emulator. */
struct drm_foreign {
        uint64_t identity;
        uint64_t size; /* dma-buf */
        bool device;
};

struct drm_caller {
        void *userdata;
        uint64_t mm;                                                      /* which address space it has */
        int (*read)(void *userdata, uint64_t at, void *ret, size_t size); /* 0 or -EFAULT */
        int (*write)(void *userdata, uint64_t at, const void *bytes, size_t size);
        int (*identify)(void *userdata, int fd, struct drm_foreign *ret); /* -EBADF, -EINVAL; NULL: nothing is known */
};

/* What a driver has to say beside its rules, once or more often: calls of that number are refused. */
struct drm_refusal {
        unsigned long request;
        uint32_t after, times; /* so many are served first, and then so many refused */
        int error;             /* -errno */
};

struct drm_card {
        const struct drm_driver *driver;
        uint64_t vram, vram_used, system;
        uint32_t binds_max; /* xe: of a vector; more is ENOBUFS */
        bool fast_link;     /* xe: to every other device */
        bool audits;        /* amdgpu: a kernel from about 6.18 on */
        bool tells_used;    /* nouveau: a kernel of 2024 or later */
        uint64_t pinned;    /* nouveau: of its memory, for scan-out */
        struct drm_refusal refuses;
        uint64_t ioctls, binds; /* how many came, and operations on page tables in them */
};

/* Memory, alive while a handle or a row shows it. */
struct drm_object {
        unsigned users;
        uint64_t size, identity; /* identity: of the dma-buf that it came from, or 0 */
        struct drm_card *card;
        bool vram;          /* charged to the card */
        uint32_t placement; /* of the driver */
        uint32_t vm;        /* xe: the one VM that may show it, or 0 */
};

enum { DRM_HANDLES_MAX = 4096, DRM_VMS_MAX = 32, DRM_SYNCS_END = 64 };

struct drm_driver {
        const char *name, *description;
        int major, minor, patch;
        size_t file_size; /* of its own part of a file, zeroed at first */
        void (*file_fini)(struct drm_file *f);
        /* `arg` is 256 bytes, zero behind what the caller passed. */
        int (*ioctl)(struct drm_file *f, const struct drm_caller *c, unsigned nr, void *arg, unsigned size);
        /* The last handle of an object goes. */
        void (*closed)(struct drm_file *f, struct drm_object *o);
};

/* A fence of a file: reached once it was signalled, and up to which point. */
struct drm_syncobj {
        bool there, signalled;
        uint64_t point;
};

struct drm_file {
        struct drm_card *card;
        struct drm_syncobj syncs[DRM_SYNCS_END];     /* handle - 1 */
        struct drm_object *handles[DRM_HANDLES_MAX]; /* handle - 1 */
        void *own;
};

extern const struct drm_driver drm_driver_xe, drm_driver_amdgpu, drm_driver_nouveau;

/* -ENOMEM. The card must stay. */
int drm_file_new(struct drm_file **ret, struct drm_card *card);
void drm_file_free(struct drm_file *f);
/* `arg` has _IOC_SIZE(request) bytes, which are read and written. 0 or -errno. */
int drm_file_ioctl(struct drm_file *f, const struct drm_caller *c, unsigned long request, void *arg);

/* The page table `vm` of a file (xe; the others have one, and ignore the number), or NULL. For tests. */
const struct drm_rows *xe_vm_rows(const struct drm_file *f, uint32_t vm);
const struct drm_rows *amdgpu_rows(const struct drm_file *f);
const struct drm_rows *nouveau_rows(const struct drm_file *f);

/* ---- for drivers ---- */

/* Takes the size from the card where it is VRAM. -ENOMEM. */
int drm_object_new(struct drm_object **ret, struct drm_card *card, uint64_t size, bool vram);
void drm_object_hold(struct drm_object *o); /* NULL is allowed, here and there */
void drm_object_drop(struct drm_object *o);
/* Takes the object over. -ENOMEM. */
int drm_handle_new(struct drm_file *f, struct drm_object *o, uint32_t *ret);
/* NULL: no such handle. */
struct drm_object *drm_handle(const struct drm_file *f, uint32_t handle);
