#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/private.h"
#include "core/node.h"
#include "core/session.h"
#include "service/devices.h"
#include "service/drm.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/private.h"

/*
 * A file of a device, given by the process that opened it: it stands for that process's address space, which no other
 * process can open. That it is a file of that device can be seen; whose address space it stands for cannot. One that a
 * process got from another leads to that one's memory, where svmd changes no content, and which gave it away itself.
 */
static int check_kind(struct call *c, uint32_t node, int fd) {
        const struct backend *b;
        char why[160];
        int r;

        if (devices_drm(c->svc, node))
                return drm_check_file(c, node, fd);
        r = find_node(c, node);

        if (r != 0)
                return r;
        b = node_backend(c->svc, node);
        if (node_desc(c->svc, node)->kind == NODE_DRM)
                return devices_refuse_gone(c, node);
        if (!b->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s takes no files: it is a %s node",
                              node_desc(c->svc, node)->name, b->name);
        if (!b->private_ops->file_ok(node_desc(c->svc, node)->device, fd, why, sizeof(why)))
                return refuse(c, SVMD_STATUS_FD_KIND, "%s", why);
        return 0;
}

static int check(struct call *c, uint32_t node, int fd) {
        const struct private_client *k = c->session->devices;
        int r = check_kind(c, node, fd);

        if (r != 0)
                return r;
        if (!devices_drm(c->svc, node) && private_device_of(k, node) >= 0)
                return refuse(c, SVMD_STATUS_TAKEN, "this session gave a file of %s already; one serves all its ranges",
                              node_desc(c->svc, node)->name);
        if (k && k->count == PRIVATE_DEVICES)
                return refuse(c, SVMD_STATUS_QUOTA, "a session gives files of %d devices at most", PRIVATE_DEVICES);
        return 0;
}

/* The keeper has it before anything depends on it. */
static int give(struct call *c, uint32_t node, int *fd) {
        struct private_client *k = private_client_of(c->session);
        struct effect_device e = { .id = state_take_id(&c->svc->state),
                                   .session = c->session->object.id,
                                   .node = node };
        uint64_t key = KEEP_KEY(KEEP_DEVICE, e.id);
        int r = k ? c->svc->hooks.keep(c->svc->hooks.userdata, key, *fd) : -ENOMEM;

        if (r < 0)
                return refuse_errno(c, r, "a file of a device");
        r = private_add_device(c->svc, k, e.id, node, *fd);
        if (r < 0) {
                c->svc->hooks.unkeep(c->svc->hooks.userdata, key);
                return refuse_errno(c, r, "what moves private memory");
        }
        *fd = -1;
        tx_effect(c->tx, EFFECT_DEVICE, &e, sizeof(e));
        c->result->id = e.id;
        c->result->value = k->count;
        return 0;
}

int op_device_give(struct call *c) {
        uint32_t node = c->op->device_give->node;
        int fd = fdlist_steal(&c->request->in), r = check(c, node, fd);

        if (r == 0)
                r = give(c, node, &fd);
        if (fd >= 0)
                close(fd);
        return r;
}
