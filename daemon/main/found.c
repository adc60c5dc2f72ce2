#include "main/found.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/drm.h"
#include "backend/drm_bind.h"
#include "backend/kfd.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "core/node.h"
#include "main/cards.h"
#include "service/service.h"

#define PATIENCE_NS 2000000000ull
enum { STEP_US = 2000 };

static bool is_found(uint32_t kind) {
        return kind == NODE_KFD || kind == NODE_DRM;
}

static void name_of(char *ret, size_t size, enum node_kind kind, uint32_t number) {
        snprintf(ret, size, "%s%u", kind == NODE_KFD ? "kfd" : "drm", number);
}

/* ---- what the drivers say ---- */

static void await_drivers(struct kfd *kfd, struct drm *drm) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
        const struct drm_device *v;
        uint32_t count;
        char why[2];

        while ((kfd_state(kfd, why, sizeof(why)) == KFD_ASKED || !drm_devices(drm, &v, &count)) &&
               clock_ns(CLOCK_MONOTONIC) < until)
                usleep(STEP_US);
}

static const struct kfd_report *kfd_said(struct kfd *kfd) {
        char why[2];

        return kfd_state(kfd, why, sizeof(why)) == KFD_TOLD ? kfd_report(kfd) : NULL;
}

static void kfd_describe(const struct kfd_report *r, uint32_t index, struct node_desc *n) {
        const struct kfd_node *k = &r->nodes[index];

        n->number = index;
        n->card = cards_of(k);
        n->faults = r->has_xnack && r->xnack > 0;
        n->hive = k->hive;
        n->driver_id = k->id;
        n->va_start = k->va_start;
        n->va_end = k->va_end;
        text_copy(n->model, k->name);
        if (k->render >= 0)
                snprintf(n->device, sizeof(n->device), "/dev/dri/renderD%d", k->render);
}

static void drm_describe(const struct drm_device *v, struct node_desc *n) {
        text_copy(n->model, v->model);
        text_copy(n->device, v->node);
}

/* ---- into the machine ---- */

/* NULL in `ret`: there are as many as there may be. -ENOMEM. */
static int add(struct machine *m, const struct node_desc *n, struct node_desc **ret) {
        *ret = NULL;
        if (m->count == NODE_MAX) {
                log_warning("%s of the driver cannot be a node: svmd has %d already, which is the most", n->name,
                            NODE_MAX);
                return 0;
        }
        *ret = machine_add(m);
        if (!*ret)
                return -ENOMEM;
        **ret = *n;
        (*ret)->found = true;
        (*ret)->numa = -1;
        return 0;
}

/* The node of that name; a new one where there is none, and that fits. NULL in `ret`: none is to be had. -ENOMEM. */
static int take(struct machine *m, enum node_kind kind, uint32_t number, uint64_t capacity, struct node_desc **ret) {
        struct node_desc fresh = { .kind = kind, .number = number, .capacity = capacity }, *n;

        *ret = NULL;
        name_of(fresh.name, sizeof(fresh.name), kind, number);
        n = machine_find(m, fresh.name);
        if (!n)
                return add(m, &fresh, ret);
        if (!n->found || n->capacity != capacity) {
                log_warning("%s of the driver cannot be a node: %s", n->name,
                            n->found ? "it had another size when svmd took it up; start svmd and svmd-keeper anew"
                                     : "a configured node has that name");
                return 0;
        }
        *ret = n;
        return 0;
}

/* After its place in the topology; where a node had that before which is another GPU, kfd1-2. */
static int add_gpu(struct machine *m, const struct kfd_report *r, uint32_t index) {
        struct node_desc fresh = { .kind = NODE_KFD, .capacity = cards_capacity(&r->nodes[index]) }, *n;
        int k;

        name_of(fresh.name, sizeof(fresh.name), NODE_KFD, index);
        for (unsigned i = 2; machine_find(m, fresh.name); i++)
                snprintf(fresh.name, sizeof(fresh.name), "kfd%u-%u", index, i);
        k = add(m, &fresh, &n);
        if (k == 0 && n)
                kfd_describe(r, index, n);
        return k;
}

/* Whatever has its place in the topology, or its number in the driver's calls, is another one. */
static void has_gone(struct node_desc *n, const struct kfd_report *r) {
        if (card_is_told(&n->card) || (n->number < r->nodes_count && r->nodes[n->number].gpu))
                n->number = UINT32_MAX;
        for (uint32_t i = 0; i < r->nodes_count; i++)
                if (r->nodes[i].gpu && r->nodes[i].id == n->driver_id)
                        n->driver_id = 0;
}

static int add_kfd(struct machine *m, const struct kfd_report *r) {
        struct cards cards;
        int k = 0;

        if (!r)
                return 0;
        cards_find(&cards, m, r);
        for (uint32_t i = 0; i < m->count; i++) {
                if (m->nodes[i].kind != NODE_KFD || !m->nodes[i].found)
                        continue;
                if (cards.at[i] != CARDS_NONE)
                        kfd_describe(r, cards.at[i], &m->nodes[i]);
                else
                        has_gone(&m->nodes[i], r);
        }
        for (uint32_t i = 0; k == 0 && i < r->nodes_count; i++)
                if (r->nodes[i].gpu && !cards.taken[i])
                        k = add_gpu(m, r, i);
        return k;
}

/* UINT32_MAX: it is no node. */
static uint32_t node_of(const struct machine *m, const struct kfd_report *r, uint32_t index) {
        if (!r->nodes[index].gpu)
                return kfd_host_of(r, index, m);
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].kind == NODE_KFD && m->nodes[i].number == index)
                        return i;
        return UINT32_MAX;
}

static int add_links(struct machine *m, const struct kfd_report *r) {
        int k = 0;

        for (uint32_t i = 0; r && k == 0 && i < r->links_count; i++) {
                const struct kfd_link *l = &r->links[i];
                struct node_link link = { .weight = l->weight,
                                          .min_bandwidth = l->minimum,
                                          .max_bandwidth = l->maximum,
                                          .peer = r->nodes[l->to].gpu };
                uint32_t from = r->nodes[l->from].gpu ? node_of(m, r, l->from) : UINT32_MAX;

                link.to = node_of(m, r, l->to);
                text_copy(link.type, kfd_link_type(l));
                if (from != UINT32_MAX && link.to != UINT32_MAX)
                        k = machine_link(&m->nodes[from], &link);
        }
        return k;
}

static bool kfd_has(const struct machine *m, const char *device) {
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].kind == NODE_KFD && strcmp(m->nodes[i].device, device) == 0)
                        return true;
        return false;
}

/* Those that svmd can bind on. */
static bool drm_is_node(const struct machine *m, const struct drm_device *v) {
        return !v->error && v->render && drm_bind_driver(v->driver) && !kfd_has(m, v->node);
}

/* Where its driver tells what there is for programs just now, it is as large as it was when it was taken up. */
static uint64_t size_of(const struct drm_device *v, const struct node_desc *n) {
        return v->varies && n ? n->capacity : v->capacity & ~4095ull;
}

static const struct node_desc *drm_node(const struct machine *m, uint32_t minor) {
        uint32_t i = machine_found(m, NODE_DRM, minor);

        return i < m->count ? &m->nodes[i] : NULL;
}

static int add_drm(struct machine *m, struct drm *drm) {
        const struct drm_device *v;
        struct node_desc *n;
        uint32_t count;
        int k = 0;

        (void)drm_devices(drm, &v, &count);
        for (uint32_t i = 0; k == 0 && i < count; i++) {
                if (!drm_is_node(m, &v[i]))
                        continue;
                k = take(m, NODE_DRM, v[i].minor, size_of(&v[i], drm_node(m, v[i].minor)), &n);
                if (k == 0 && n)
                        drm_describe(&v[i], n);
        }
        return k;
}

/* One of the earlier svmd's. Where what is configured has changed since, service_start() says so. */
static int on_kept(void *userdata, uint32_t number, const struct node_desc *kept) {
        struct node_desc fresh = *kept, *n;
        struct machine *m = userdata;

        if (!is_found(kept->kind) || number != m->count || sscanf(kept->name, "%*3s%u", &fresh.number) != 1)
                return 0;
        if (machine_find(m, kept->name)) {
                log_warning("%s of the driver cannot be a node: a configured node has that name", kept->name);
                return 0;
        }
        if (card_is_told(&kept->card))
                fresh.number = UINT32_MAX; /* until the driver says where it is */
        fresh.driver_id = kept->card.id;
        return add(m, &fresh, &n);
}

static void give_addresses(struct machine *m) {
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].found && m->nodes[i].va_end == 0) {
                        m->nodes[i].va_start = 0x10000;
                        m->nodes[i].va_end = 1ull << 47;
                }
}

int found_add(struct machine *m, const struct service_kept *kept, size_t count, struct kfd *kfd, struct drm *drm) {
        int r = service_kept_nodes(kept, count, on_kept, m);

        await_drivers(kfd, drm);
        if (r == 0)
                r = add_kfd(m, kfd_said(kfd));
        if (r == 0)
                r = add_drm(m, drm);
        if (r == 0)
                r = add_links(m, kfd_said(kfd));
        give_addresses(m);
        return r;
}

/* ---- afterwards ---- */

/* What `cards` are of is there for KFD_TOLD. */
static void tell_kfd(struct service *svc, uint32_t node, const struct node_desc *n, struct kfd *kfd,
                     const struct cards *cards) {
        char why[160] = "", text[192];

        switch (kfd_state(kfd, why, sizeof(why))) {
        case KFD_ABSENT: service_found(svc, node, false, "there is no /dev/kfd"); break;
        case KFD_ASKED: break;
        case KFD_FAILED:
                snprintf(text, sizeof(text), "svmd-probe-kfd %s", why);
                service_found(svc, node, false, text);
                break;
        case KFD_TOLD:
                cards_why_gone(n, kfd_report(kfd), text, sizeof(text));
                service_found(svc, node, cards->at[node] != CARDS_NONE, text);
        }
}

static void tell_drm(struct service *svc, uint32_t node, const struct node_desc *n, struct drm *drm) {
        const struct drm_device *v;
        uint32_t count;
        bool there = false;

        if (!drm_devices(drm, &v, &count))
                return;
        for (uint32_t i = 0; i < count; i++)
                there = there || (v[i].minor == n->number && !v[i].error && size_of(&v[i], n) == n->capacity);
        service_found(svc, node, there, "its driver has it no longer, or does not let svmd open it");
}

void found_tell(struct service *svc, const struct machine *m, struct kfd *kfd, struct drm *drm) {
        struct cards cards;

        cards_find(&cards, m, kfd_said(kfd));
        for (uint32_t i = 0; i < m->count; i++) {
                const struct node_desc *n = &m->nodes[i];

                if (n->kind == NODE_KFD && n->found)
                        tell_kfd(svc, i, n, kfd, &cards);
                else if (n->kind == NODE_DRM && n->found)
                        tell_drm(svc, i, n, drm);
        }
}

/* ---- while svmd runs ---- */

/* Whether it says which GPUs there are: a driver that cannot be asked for a moment has lost none. */
static bool kfd_is_sure(struct kfd *kfd) {
        static const char *const whats[] = { "open", "library", "version", "topology", "node" };
        const struct kfd_error *e;
        char why[160];
        enum kfd_state state = kfd_state(kfd, why, sizeof(why));

        if (state != KFD_TOLD)
                return state == KFD_ABSENT;
        for (unsigned i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
                e = kfd_report_error(kfd_report(kfd), whats[i]);
                if (e && (i > 0 || !(e->error == ENOENT || e->error == ENODEV || e->error == ENXIO)))
                        return false;
        }
        return true;
}

static void again_kfd(struct service *svc, uint32_t node, struct node_desc *n, struct kfd *kfd,
                      const struct cards *cards) {
        const struct kfd_report *r = kfd_said(kfd);
        struct card before = n->card;
        bool moved;

        if (r && cards->at[node] == CARDS_NONE) {
                has_gone(n, r);
        } else if (r) {
                n->number = cards->at[node];
                n->card = cards_of(&r->nodes[n->number]);
                moved = !card_is_told(&before) || card_match(&before, &n->card) != CARD_SAME;
                if (moved || !n->driver_id || !n->model[0])
                        kfd_describe(r, n->number, n); /* or it was not there when svmd started */
                if (moved)
                        service_found_card(svc);
        }
        tell_kfd(svc, node, n, kfd, cards);
}

/* One that is there and cannot be opened is as it was. */
static void again_drm(struct service *svc, uint32_t node, const struct node_desc *n, struct drm *drm) {
        const struct drm_device *v;
        uint32_t count;

        if (!drm_devices(drm, &v, &count))
                return;
        for (uint32_t i = 0; i < count; i++)
                if (v[i].minor == n->number && v[i].error && v[i].error != ENODEV && v[i].error != ENXIO)
                        return;
        tell_drm(svc, node, n, drm);
}

static bool is_new(const struct machine *m, enum node_kind kind, uint32_t number) {
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].found && m->nodes[i].kind == kind && m->nodes[i].number == number)
                        return false;
        return true;
}

/* Those that would be nodes of a svmd that started now. */
static unsigned count_new(const struct machine *m, struct kfd *kfd, struct drm *drm) {
        const struct kfd_report *r = kfd_said(kfd);
        const struct drm_device *v;
        uint32_t count;
        unsigned n = 0;

        for (uint32_t i = 0; r && i < r->nodes_count; i++)
                n += r->nodes[i].gpu && is_new(m, NODE_KFD, i);
        if (drm_devices(drm, &v, &count))
                for (uint32_t i = 0; i < count; i++)
                        n += drm_is_node(m, &v[i]) && is_new(m, NODE_DRM, v[i].minor);
        return n;
}

bool found_again(struct service *svc, struct machine *m, struct kfd *kfd, struct drm *drm) {
        bool sure = kfd_is_sure(kfd);
        struct cards cards;

        cards_find(&cards, m, kfd_said(kfd));
        for (uint32_t i = 0; i < m->count; i++) {
                struct node_desc *n = &m->nodes[i];

                if (n->kind == NODE_KFD && n->found && sure)
                        again_kfd(svc, i, n, kfd, &cards);
                else if (n->kind == NODE_DRM && n->found)
                        again_drm(svc, i, n, drm);
        }
        service_found_new(svc, count_new(m, sure ? kfd : NULL, drm));
        return sure;
}
