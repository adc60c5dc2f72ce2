#pragma once

#include "backend/backend.h"

/*
 * What all kinds have in common whose page tables are their clients': svmd charges what is there, remembers what is
 * mapped where, and its spaces are those records and nothing more. A kind's row begins with AUDITED and adds its name,
 * who executes what, and the attributes that its driver has.
 */
int audited_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata);
void audited_device_free(struct device *d);
uint64_t audited_ops_done(const struct device *d);
int audited_space_new(struct device *d, struct device_space **ret);
void audited_space_free(struct device_space *s);
int audited_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
                struct map_attrs attrs);
void audited_unmap(struct device_space *s, uint64_t va, uint64_t size);
void audited_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs);
void audited_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                    struct imap_spare *spare);
void audited_translate(struct device_space *s, uint64_t va, struct device_translation *ret);
int audited_submit(struct device_space *s, const struct device_op *op);
/* For drivers whose mappings have no attributes but access. */
bool audited_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size);

#define AUDITED                                                                                                        \
        .has_spaces = true, .ops_done = audited_ops_done, .space_new = audited_space_new,                              \
        .space_free = audited_space_free, .map = audited_map, .unmap = audited_unmap, .protect = audited_protect,      \
        .sparse = audited_sparse, .translate = audited_translate, .submit = audited_submit
