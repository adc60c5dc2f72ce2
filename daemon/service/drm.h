#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Page tables of DRM devices, changed by files that clients opened and gave (op_device_give). svmd's books of what it
 * bound are as old as this process: after a restart a page table is known, and not what is in it.
 *
 *      session --devices--> private_client --tables--> drm_table: a page table in one of its files
 */
struct call;
struct device_result;
struct drm_bind_driver;
struct drm_space;
struct private_client;
struct private_work;
struct service;
struct session;

enum { DRM_TABLES_MAX = 256 }; /* of a session */

struct drm_table {
        struct list link;
        uint64_t file;
        struct drm_space *space;
        struct drm_work *goodbye; /* for the end of its session, which must not fail */
        bool made;                /* by svmd, which destroys it */
        uint64_t differs;         /* bytes, when it was last compared, */
        char how[160];            /* and how */
};

/* -ENOMEM. */
int drm_table_new(struct drm_table **ret, uint64_t file, uint32_t number, bool made, bool lost);
/* NULL is allowed. */
void drm_table_free(struct drm_table *t);
/* NULL: the session has none of that. */
struct drm_table *drm_table_find(const struct private_client *k, uint64_t file, uint32_t number);

/* Which of the session's files has the number; -1: none. */
int drm_file_of(const struct private_client *k, uint64_t id);
/* Whether it is an open file of that device, whose driver svmd can bind with, and nobody else's: 0, OP_REFUSED. */
int drm_check_file(struct call *c, uint32_t node, int fd);
/* The driver that a device has; NULL: it is not there, or svmd does not know it. */
const struct drm_bind_driver *drm_driver_of(const struct service *svc, uint32_t node);
/* Private memory that a page table of the session mirrors: whether one does, on that device or (UINT32_MAX) any. */
bool drm_mirrors(const struct call *c, uint32_t node, uint64_t address, uint64_t size);
/* Such memory comes to the device, with a fence; a node of another kind: back to the system. 0, OP_REFUSED, -ENOMEM. */
int drm_prefetch(struct call *c, uint32_t node, uint64_t address, uint64_t size);
/* It shall be on that device; a node of another kind: in the system, for all that mirror it. The driver keeps it. */
int drm_prefer(struct call *c, uint32_t node, uint64_t address, uint64_t size);
/* A PRIVATE_CALL of the session is done: what came of it, and what is there now. */
void drm_done(struct service *svc, struct session *s, struct private_work *w, struct device_result *ret);
/* Page tables that were not as svmd left them when they were last compared, and the first of them. */
struct drm_differing {
        uint32_t tables;
        const struct session *session;
        const struct drm_table *first;
};
void drm_differing(const struct service *svc, struct drm_differing *ret);
/* With the session, before its lane is told to end. Unmaps what is in its addresses, for the files may live on. */
void drm_goodbye(struct service *svc, struct session *s);

/* ---- journal ---- */

int drm_put(struct service *svc, const struct session *s);
int drm_replay(struct service *svc, const void *bytes, char *why, size_t why_size);
