#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/drm_space.h"
#include "backend/private.h"

struct device_result;
struct drm_table;

/*
 * One thing that a session asks of a file of a DRM device, which its lane does: the driver may keep the caller waiting,
 * and the client the driver.
 */
enum drm_job {
        DRM_JOB_BIND,
        DRM_JOB_MAKE,   /* a page table, */
        DRM_JOB_TAKE,   /* one that is there, */
        DRM_JOB_LET_GO, /* and the end of either */
        DRM_JOB_CHECK,
};

enum { DRM_SYNCS_MAX = 16, DRM_SYNC_WAIT_MS = 5000 };
struct drm_fence {
        uint32_t handle;
        uint64_t point;
};

struct drm_work {
        struct private_work work;
        const struct drm_bind_driver *driver;
        enum drm_job job;
        struct drm_space *space; /* held */
        struct drm_table *table; /* MAKE, TAKE: what becomes of it; NULL: the session's */
        uint64_t file, start, size;
        bool made;
        uint32_t waits, signals;
        struct drm_fence wait[DRM_SYNCS_MAX], signal[DRM_SYNCS_MAX];
        /* The outcome. */
        enum drm_stage { DRM_WAITING, DRM_DOING, DRM_SIGNALLING } stage;
        int result;
        uint32_t done;
        struct drm_audit audit;

        uint32_t count;
        struct drm_binding list[];
};

/* With room for `count` bindings; holds the space. private_work_free(&x->work). NULL: out of memory. */
struct drm_work *drm_work_new(enum drm_job job, struct drm_space *space, uint32_t count);
/* What came of it. */
void drm_work_say(const struct drm_work *x, struct device_result *ret);
