#include "backend/audited.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"

struct device_space {
        unsigned unused;
};

int audited_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        *ret = NULL;
        return 0;
}

void audited_device_free(struct device *d) {
}

uint64_t audited_ops_done(const struct device *d) {
        return 0;
}

int audited_space_new(struct device *d, struct device_space **ret) {
        *ret = alloc_zero(sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

void audited_space_free(struct device_space *s) {
        alloc_free(s);
}

bool audited_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (!attrs->pat && !attrs->kind)
                return true;
        snprintf(why, why_size, "mappings of this driver have neither pat nor kind");
        return false;
}

int audited_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
                struct map_attrs attrs) {
        return 0;
}

void audited_unmap(struct device_space *s, uint64_t va, uint64_t size) {
}

void audited_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs) {
}

void audited_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                    struct imap_spare *spare) {
}

void audited_translate(struct device_space *s, uint64_t va, struct device_translation *ret) {
        *ret = (struct device_translation){ 0 };
}

int audited_submit(struct device_space *s, const struct device_op *op) {
        return -ENOMEM; /* none comes: clients launch their own */
}
