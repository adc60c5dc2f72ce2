#include <stddef.h>
#include <stdio.h>

#include "backend/backend.h"
#include "backend/kinds.h"

/* A NUMA node of this machine: memory without a device. Nothing runs on it, so its device is NULL. */
static int host_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        *ret = NULL;
        return 0;
}

static void host_device_free(struct device *d) {
}

static uint64_t host_ops_done(const struct device *d) {
        return 0;
}

static bool host_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (attrs->access != 0 && attrs->access != 1 && attrs->access != 3)
                snprintf(why, why_size, "access %u: a host node knows 0 (none), 1 (read) and 3 (read and write)",
                         attrs->access);
        else if (attrs->pat != 0 || attrs->kind != 0)
                snprintf(why, why_size, "pat %u, kind %u: a host node has neither; leave both 0", attrs->pat,
                         attrs->kind);
        else
                return true;
        return false;
}

const struct backend backend_host = {
        .kind = NODE_HOST,
        .name = "host",
        .granularity = 4096,
        .has_spaces = false,
        .device_new = host_device_new,
        .device_free = host_device_free,
        .ops_done = host_ops_done,
        .attrs_ok = host_attrs_ok,
};
