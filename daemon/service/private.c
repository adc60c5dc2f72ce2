#include "service/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/private.h"
#include "base/alloc.h"
#include "core/by_id.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/devices.h"
#include "service/drm.h"
#include "service/effects.h"
#include "service/internal.h"

_Static_assert(PRIVATE_DEVICES == PRIVATE_FILES, "a device is a file of the lane");

int private_init(struct service *svc) {
        list_init(&svc->private_memory.ranges);
        return lanes_new(&svc->private_memory.lanes, svc->hooks.wake, svc->hooks.userdata);
}

void private_fini(struct service *svc) {
        lanes_free(svc->private_memory.lanes);
        svc->private_memory.lanes = NULL;
}

/* ---- ranges ---- */

struct private_range *private_of(const struct reservation *r) {
        return r->own;
}

int private_begin(struct service *svc, struct reservation *r) {
        struct private_range *p = alloc_zero(sizeof(*p));
        int k = p ? places_new(&p->places, r->va.size / SVMD_PAGE) : -ENOMEM;

        if (k < 0) {
                alloc_free(p);
                return k;
        }
        p->reservation = r;
        imap_init(&p->preferred);
        list_push_back(&svc->private_memory.ranges, &p->link);
        r->own = p;
        r->owner->registered += r->va.size;
        return 0;
}

void private_end(struct service *svc, struct reservation *r) {
        struct private_range *p = private_of(r);

        if (!p)
                return;
        r->owner->registered -= r->va.size;
        r->own = NULL;
        list_remove(&p->link);
        places_drop(p->places);
        imap_clear(&p->preferred);
        alloc_free(p);
}

uint32_t private_host_node(const struct service *svc) {
        uint32_t i = 0;

        while (i + 1 < svc->options.machine->count && node_desc(svc, i)->kind != NODE_HOST)
                i++;
        return i;
}

bool private_overlaps(const struct service *svc, const struct session *s, uint64_t address, uint64_t size) {
        list_for_each (l, &svc->private_memory.ranges) {
                const struct reservation *r = container_of(l, struct private_range, link)->reservation;

                if (r->outside && r->owner == s && r->va.start < address + size && address < r->va.start + r->va.size)
                        return true;
        }
        return false;
}

struct reservation *private_outside(const struct service *svc, const struct session *s, uint64_t address) {
        list_for_each (l, &svc->private_memory.ranges) {
                struct reservation *r = container_of(l, struct private_range, link)->reservation;

                if (r->outside && r->owner == s && address >= r->va.start && address - r->va.start < r->va.size)
                        return r;
        }
        return NULL;
}

uint64_t private_held(const struct private_range *p) {
        uint64_t pages = places_count(p->places, PLACE_SYSTEM, 0);

        for (unsigned i = 0; i < PRIVATE_FILES; i++)
                pages += places_count(p->places, PLACE_DEVICE, i) + places_count(p->places, PLACE_EXCLUSIVE, i);
        return pages * SVMD_PAGE;
}

uint64_t private_range_seen(const struct private_range *p, uint32_t node) {
        int file = private_device_of(p->reservation->owner->devices, node);

        return file < 0 ? 0 : places_count(p->places, PLACE_DEVICE, (unsigned)file) * SVMD_PAGE;
}

uint64_t private_seen(const struct service *svc, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &svc->private_memory.ranges)
                bytes += private_range_seen(container_of(l, struct private_range, link), node);
        return bytes;
}

/* ---- devices ---- */

struct private_client *private_client_of(struct session *s) {
        struct private_client *k = s->devices;

        if (!k && (k = alloc_zero(sizeof(*k))))
                list_init(&k->tables);
        s->devices = k;
        return k;
}

bool private_moves(const struct private_client *k) {
        for (unsigned i = 0; k && i < k->count; i++)
                if (k->device[i].moves)
                        return true;
        return false;
}

int private_device_of(const struct private_client *k, uint32_t node) {
        for (unsigned i = 0; k && i < k->count; i++)
                if (k->device[i].node == node)
                        return (int)i;
        return -1;
}

static const struct private_ops *ops_of(const struct service *svc, uint32_t node) {
        return node < svc->options.machine->count ? node_backend(svc, node)->private_ops : NULL;
}

int private_add_device(struct service *svc, struct private_client *k, uint64_t id, uint32_t node, int fd) {
        int r = 0;

        if (k->count == PRIVATE_DEVICES)
                return -ENOSPC;
        if (!k->lane)
                r = lane_new(&k->lane, svc->private_memory.lanes);
        if (r == 0)
                r = lane_add_file(k->lane, ops_of(svc, node), fd);
        if (r == 0)
                k->device[k->count++] = (struct private_device){ id, node, ops_of(svc, node) };
        return r;
}

/* The keeper's descriptors go first: the last one that is closed waits for the kernel to bring all pages of that device
 * back, and should be the lane's. */
void private_client_free(struct service *svc, struct session *s) {
        struct private_client *k = s->devices;

        if (!k)
                return;
        for (unsigned i = 0; i < k->count && !svc->replaying; i++)
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_DEVICE, k->device[i].id));
        drm_goodbye(svc, s);
        if (k->lane)
                lane_end(k->lane);
        alloc_free(k);
        s->devices = NULL;
}

/* ---- journal ---- */

int private_put(struct service *svc, const struct private_range *p) {
        struct effect_private e = { .reservation = p->reservation->object.id };
        int r = journal_snapshot_put(svc->journal, EFFECT_PRIVATE, &e, sizeof(e));

        for (struct imap_entry *x = imap_first_from(&p->preferred, 0); x && r == 0; x = imap_next(x)) {
                struct effect_prefer prefer = {
                        .reservation = e.reservation,
                        .address = x->start,
                        .size = x->end - x->start,
                        .preferred = (uint32_t)x->value,
                        .session = p->adviser,
                };

                r = journal_snapshot_put(svc->journal, EFFECT_PREFER, &prefer, sizeof(prefer));
        }
        return r;
}

int private_put_client(struct service *svc, const struct session *s) {
        const struct private_client *k = s->devices;
        int r = 0;

        for (unsigned i = 0; k && i < k->count && r == 0; i++) {
                struct effect_device e = { .id = k->device[i].id, .session = s->object.id, .node = k->device[i].node };

                r = journal_snapshot_put(svc->journal, EFFECT_DEVICE, &e, sizeof(e));
        }
        return k && r == 0 ? drm_put(svc, s) : r;
}

/* One whose device may be there; if it is, is seen when it is used. */
static bool is_device(const struct service *svc, uint32_t node) {
        return ops_of(svc, node) || (node >= DEVICES_DRM && node < DEVICES_KFD) ||
               (node < svc->options.machine->count && node_desc(svc, node)->kind == NODE_DRM);
}

static int replay_device(struct service *svc, const struct effect_device *e) {
        struct session *s = session_by_id(&svc->state, e->session);
        uint32_t node = devices_now(svc, e->node);
        struct private_client *k;

        if (!s || !is_device(svc, node))
                return -EBADMSG;
        k = private_client_of(s);
        if (!k)
                return -ENOMEM;
        if (k->count == PRIVATE_DEVICES || (ops_of(svc, node) && private_device_of(k, node) >= 0))
                return -EBADMSG;
        k->device[k->count++] = (struct private_device){ e->id, node, ops_of(svc, node) };
        return 0;
}

static int replay_private(struct service *svc, const struct effect_private *e) {
        struct reservation *r = reservation_by_id(&svc->state, e->reservation);

        if (!r || !r->owner || r->shared || r->managed || r->own)
                return -EBADMSG;
        return private_begin(svc, r);
}

static int replay_prefer(struct service *svc, const struct effect_prefer *e) {
        struct reservation *r = reservation_by_id(&svc->state, e->reservation);

        if (!r || !r->own || e->size == 0 || e->address < r->va.start || e->size > r->va.size ||
            e->address - r->va.start > r->va.size - e->size || e->preferred > svc->options.machine->count)
                return -EBADMSG;
        private_of(r)->adviser = e->session;
        return imap_set(&private_of(r)->preferred, e->address, e->address + e->size, e->preferred);
}

int private_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size) {
        int r = type == EFFECT_DEVICE    ? replay_device(svc, bytes)
                : type == EFFECT_PRIVATE ? replay_private(svc, bytes)
                                         : replay_prefer(svc, bytes);

        if (r == -EBADMSG)
                snprintf(why, why_size,
                         "the journal has private memory, or a device's file, that cannot be (effect %u)", type);
        return r;
}

/* Numbers of files begin anew; nothing was seen yet that names them. */
static int restore_session(struct service *svc, struct private_client *k) {
        struct private_client had = *k;
        int r = 0;

        k->count = 0;
        for (unsigned i = 0; r == 0 && i < had.count; i++) {
                int fd = kept_take(svc, KEEP_KEY(KEEP_DEVICE, had.device[i].id));

                if (fd < 0)
                        continue;
                r = private_add_device(svc, k, had.device[i].id, had.device[i].node, fd);
                if (r < 0)
                        close(fd);
        }
        return r;
}

int private_restore(struct service *svc, char *why, size_t why_size) {
        int r = 0;

        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r == 0 && s->devices)
                        r = restore_session(svc, s->devices);
        }
        if (r < 0)
                snprintf(why, why_size, "files of devices cannot be taken over: %s", strerror(-r));
        return r;
}
