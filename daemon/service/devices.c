#include "service/devices.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/drm.h"
#include "backend/kfd.h"
#include "core/node.h"

static bool is_node(const struct service *svc, enum node_kind kind, uint32_t number) {
        return machine_found(svc->options.machine, kind, number) < svc->options.machine->count;
}

/* The node that a driver's device is, or its number as a device. */
static uint32_t node_or(const struct service *svc, enum node_kind kind, uint32_t number, uint32_t device) {
        uint32_t node = machine_found(svc->options.machine, kind, number);

        return node < svc->options.machine->count ? node : device;
}

/* ---- drm ---- */

static const struct drm_device *drm_from(const struct service *svc, uint32_t minor) {
        const struct drm_device *v;
        uint32_t count;

        if (!drm_devices(svc->options.drm, &v, &count))
                return NULL;
        for (uint32_t i = 0; i < count; i++)
                if (v[i].minor >= minor && !is_node(svc, NODE_DRM, v[i].minor))
                        return &v[i];
        return NULL;
}

static uint32_t can(const struct drm_device *v) {
        return (v->import ? SVMD__V1__NODE_CAN__CAN_IMPORT : 0u) | (v->export_ ? SVMD__V1__NODE_CAN__CAN_EXPORT : 0u) |
               (v->syncobj ? SVMD__V1__NODE_CAN__CAN_SYNCOBJ : 0u) |
               (v->timeline ? SVMD__V1__NODE_CAN__CAN_TIMELINE : 0u);
}

static void add_drm(struct call *c, const struct drm_device *v, Svmd__V1__Node *row) {
        row->driver = (char *)v->driver;
        row->version = (char *)v->version;
        row->bus = (char *)v->bus;
        row->can = can(v);
        row->functions = v->functions;
        row->functions_most = v->functions_most;
        row->physical = (char *)v->physical;
}

static void fill_drm(struct call *c, const struct drm_device *v, Svmd__V1__Node *row) {
        char name[32];

        snprintf(name, sizeof(name), "drm%u", v->minor);
        row->id = DEVICES_DRM + v->minor;
        row->kind = SVMD__V1__NODE_KIND__DRM;
        row->kind_name = (char *)"drm";
        row->name = call_string(c, name);
        row->model = (char *)v->model;
        row->device = (char *)v->node;
        row->capacity = v->capacity;
        row->used = v->used;
        add_drm(c, v, row);
        row->online = !v->error;
        row->trouble = v->error ? call_string(c, strerror(v->error)) : (char *)"";
}

/* ---- kfd ---- */

/* KFD_NODES_MAX: there is none. CPU nodes are host nodes. */
static uint32_t kfd_from(const struct service *svc, uint32_t index) {
        const struct kfd_report *r;
        char why[2];

        if (kfd_state(svc->options.kfd, why, sizeof(why)) != KFD_TOLD)
                return KFD_NODES_MAX;
        r = kfd_report(svc->options.kfd);
        for (; index < r->nodes_count; index++)
                if (r->nodes[index].gpu && !is_node(svc, NODE_KFD, index))
                        return index;
        return KFD_NODES_MAX;
}

static void fill_kfd(struct call *c, uint32_t index, Svmd__V1__Node *row) {
        const struct kfd_report *r = kfd_report(c->svc->options.kfd);
        const struct kfd_node *n = &r->nodes[index];
        char text[64];

        snprintf(text, sizeof(text), "kfd%u", index);
        if (machine_find(c->svc->options.machine, text)) /* of one that had this place before */
                snprintf(text, sizeof(text), "kfd%u-new", index);
        row->id = DEVICES_KFD + index;
        row->kind = SVMD__V1__NODE_KIND__KFD;
        row->kind_name = (char *)"kfd";
        row->name = call_string(c, text);
        row->model = (char *)n->name;
        row->capacity = n->bytes;
        row->hive = n->hive;
        row->faults = r->has_xnack && r->xnack > 0;
        row->va_start = n->va_start;
        row->va_end = n->va_end;
        row->driver = (char *)"amdgpu";
        row->online = true;
        snprintf(text, sizeof(text), "/dev/dri/renderD%d", n->render);
        row->device = n->render >= 0 ? call_string(c, text) : (char *)"";
}

static uint32_t node_of(const struct service *svc, const struct kfd_report *r, uint32_t index) {
        if (!r->nodes[index].gpu)
                return kfd_host_of(r, index, svc->options.machine);
        return node_or(svc, NODE_KFD, index, DEVICES_KFD + index);
}

static bool is_kfd(const struct service *svc, uint32_t id) {
        return id >= DEVICES_KFD && id - DEVICES_KFD < KFD_NODES_MAX &&
               kfd_from(svc, id - DEVICES_KFD) == id - DEVICES_KFD;
}

int devices_links(struct call *c, uint32_t id, Svmd__V1__LinksResult *ret) {
        const struct kfd_report *r = is_kfd(c->svc, id) ? kfd_report(c->svc->options.kfd) : NULL;
        uint32_t count = 0;

        for (uint32_t i = 0; r && i < r->links_count; i++)
                count += r->links[i].from == id - DEVICES_KFD;
        ret->links = call_take(c, (count + 1) * sizeof(*ret->links));
        if (!ret->links)
                return -ENOMEM;
        for (uint32_t i = 0; ret->n_links < count; i++) {
                const struct kfd_link *l = &r->links[i];
                Svmd__V1__Link *row;

                if (l->from != id - DEVICES_KFD)
                        continue;
                row = call_take(c, sizeof(*row));
                if (!row)
                        return -ENOMEM;
                svmd__v1__link__init(row);
                row->to = node_of(c->svc, r, l->to);
                row->type = (char *)kfd_link_type(l);
                row->weight = l->weight;
                row->min_bandwidth = l->minimum;
                row->max_bandwidth = l->maximum;
                row->peer = r->nodes[l->to].gpu;
                ret->links[ret->n_links++] = row;
        }
        return 0;
}

/* ---- both ---- */

bool devices_next(struct call *c, uint32_t from, Svmd__V1__Node **ret) {
        const struct drm_device *v =
                from < DEVICES_KFD ? drm_from(c->svc, from > DEVICES_DRM ? from - DEVICES_DRM : 0) : NULL;
        uint32_t index = v ? 0 : kfd_from(c->svc, from > DEVICES_KFD ? from - DEVICES_KFD : 0);
        Svmd__V1__Node *row;

        if (!v && index == KFD_NODES_MAX)
                return false;
        *ret = row = call_take(c, sizeof(*row));
        if (!row)
                return true;
        svmd__v1__node__init(row);
        if (v)
                fill_drm(c, v, row);
        else
                fill_kfd(c, index, row);
        return true;
}

static const struct drm_device *drm_of(const struct service *svc, uint32_t minor) {
        const struct drm_device *v;
        uint32_t count;

        if (!drm_devices(svc->options.drm, &v, &count))
                return NULL;
        for (uint32_t i = 0; i < count; i++)
                if (v[i].minor == minor)
                        return &v[i];
        return NULL;
}

int devices_refuse_gone(struct call *c, uint32_t id) {
        bool node = id < c->svc->options.machine->count;

        return refuse(c, SVMD_STATUS_NO_NODE, "the device of that file, drm%u, is not there",
                      node ? node_desc(c->svc, id)->number : id - DEVICES_DRM);
}

uint32_t devices_now(const struct service *svc, uint32_t id) {
        return id >= DEVICES_DRM && id < DEVICES_KFD ? node_or(svc, NODE_DRM, id - DEVICES_DRM, id) : id;
}

const struct drm_device *devices_drm(const struct service *svc, uint32_t id) {
        const struct machine *m = svc->options.machine;

        if (id < m->count)
                return m->nodes[id].found && m->nodes[id].kind == NODE_DRM ? drm_of(svc, m->nodes[id].number) : NULL;
        if (id < DEVICES_DRM || id >= DEVICES_KFD || is_node(svc, NODE_DRM, id - DEVICES_DRM))
                return NULL;
        return drm_of(svc, id - DEVICES_DRM);
}

bool devices_has(const struct service *svc, uint32_t id) {
        if (id < DEVICES_KFD)
                return id >= DEVICES_DRM && devices_drm(svc, id);
        return is_kfd(svc, id);
}

void devices_fill(struct call *c, uint32_t node, Svmd__V1__Node *row) {
        const struct node_desc *d = node_desc(c->svc, node);
        const struct drm_device *v = d->found && d->kind == NODE_DRM ? drm_of(c->svc, d->number) : NULL;

        row->trouble = c->svc->state.nodes[node].trouble;
        row->number = d->number;
        row->driver_id = d->driver_id;
        if (v)
                add_drm(c, v, row);
        else if (d->kind == NODE_KFD)
                row->driver = (char *)"amdgpu";
}
