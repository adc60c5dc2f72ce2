#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/private.h"
#include "base/alloc.h"
#include "base/text.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/adopted.h"
#include "service/advice.h"
#include "service/devices.h"
#include "service/drm.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/private.h"

/*
 * Requests about private memory. Each is a fence whose work the session's lane does: a range is moved, used exclusively
 * or looked at, and looked at in any case when that is done. Its reservation may end meanwhile; the work then goes on
 * with addresses of the process, where it changes no content.
 */
struct private_order {
        struct fence fence;
        struct private_work *work; /* NULL: the lane has it, or had */
        struct lane *lane;
        uint32_t node; /* where it shall be */
        bool hint;
};

static struct private_order *order_of(struct fence *f) {
        return container_of(f, struct private_order, fence);
}

/* ---- finding ---- */

int private_find(struct call *c, const char *partition, uint64_t address, uint64_t *size, struct private_range **ret) {
        const struct reservation *r;
        struct partition *p;
        uint64_t left;
        int k = call_partition(c, partition, &p);

        if (k != 0)
                return k;
        r = adopted_or_at(c, p, address);
        if (!r || r->freeing || !private_of(r))
                return PRIVATE_OTHER;
        if (!partition[0] && r->owner != c->session)
                return refuse(c, SVMD_STATUS_FOREIGN, "0x%" PRIx64 " is reserved by another session", address);
        if (address % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_ALIGN, "address 0x%" PRIx64 " is not at a page, 4 KiB each", address);
        if (*size % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_SIZE, "size %" PRIu64 " is not a multiple of 4 KiB", *size);
        left = r->va.start + r->va.size - address;
        if (*size > left)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of the reservation, 0x%" PRIx64, *size,
                              address, address + left);
        *size = *size ? *size : left;
        *ret = private_of(r);
        return 0;
}

static const char *reason(unsigned op_case) {
        switch (op_case) {
        case SVMD__V1__OP__OP_DISCARD: return "its process discards it, with madvise(MADV_DONTNEED)";
        case SVMD__V1__OP__OP_PIN: return "svmd cannot hold its pages; mlock() by its process keeps them in memory";
        case SVMD__V1__OP__OP_REVOKE:
        case SVMD__V1__OP__OP_STEAL: return "svmd has nothing of it that could be taken away";
        case SVMD__V1__OP__OP_RANGE_FILES:
        case SVMD__V1__OP__OP_JOIN: return "it has no files: its process maps anonymous memory there";
        case SVMD__V1__OP__OP_MAP: return "its process maps anonymous memory there, and no memory object";
        default: return "reserve a SHARED one for that";
        }
}

int private_refuse(struct call *c, const struct reservation *r) {
        return refuse(c, SVMD_STATUS_INVALID, "the reservation at 0x%" PRIx64 " is private, which excludes %s: %s",
                      r->va.start, op_row(c->op->op_case)->name, reason(c->op->op_case));
}

/* ---- outcomes ---- */

static void say_left(const struct service *svc, const struct private_order *o, const struct private_work *w,
                     struct device_result *d) {
        char there[24], all[24];

        text_bytes(there, sizeof(there), w->there * SVMD_PAGE);
        text_bytes(all, sizeof(all), w->pages * SVMD_PAGE);
        d->code = SVMD_STATUS_BUSY;
        snprintf(d->text, sizeof(d->text),
                 "%.12s of %.12s came to %s; the kernel left the rest, from 0x%" PRIx64
                 " on: pinned, of exclusive use, or no room",
                 there, all, node_desc(svc, o->node)->name, w->first_left);
}

static void say(const struct service *svc, const struct private_order *o, const struct private_work *w,
                struct device_result *d) {
        d->value = w->there * SVMD_PAGE;
        d->address = w->first_left;
        if (w->result == -ENOMEM) {
                d->code = SVMD_STATUS_NO_MEMORY;
                snprintf(d->text, sizeof(d->text), "svmd has no memory left to do it; part of it may be done");
        } else if (w->result < 0) {
                d->code = SVMD_STATUS_SYSTEM;
                snprintf(d->text, sizeof(d->text), "the process's memory cannot be reached: %s; part of it may be done",
                         strerror(-w->result));
        } else if (w->there == w->pages || o->hint || w->task == PRIVATE_LOOK) {
                d->code = SVMD_STATUS_OK;
        } else if (w->there + w->unmapped == w->pages) {
                d->code = SVMD_STATUS_NOT_MAPPED;
                snprintf(d->text, sizeof(d->text),
                         "some of it, from 0x%" PRIx64 " on, is not mapped in its process any more", w->first_left);
        } else {
                say_left(svc, o, w, d);
        }
}

static void order_start(struct service *svc, struct fence *f) {
        struct private_order *o = order_of(f);
        struct private_work *w = o->work;

        o->work = NULL;
        lane_submit(o->lane, w);
}

static void order_end(struct service *svc, struct fence *f) {
        private_work_free(order_of(f)->work);
        order_of(f)->work = NULL;
}

static const struct fence_kind private_fence = { order_start, order_end, NULL };

void private_collect(struct service *svc) {
        struct private_work *w;

        while ((w = lanes_take(svc->private_memory.lanes))) {
                struct fence *f = fence_by_id(svc, w->fence);
                struct device_result d = { .fence = w->fence };

                if (f && !f->done && w->task == PRIVATE_CALL) {
                        drm_done(svc, f->session, w, &d);
                        fence_finish(svc, f, &d);
                } else if (f && f->kind == &private_fence && !f->done) {
                        say(svc, order_of(f), w, &d);
                        fence_finish(svc, f, &d);
                }
                private_work_free(w);
        }
}

/* ---- asking ---- */

struct wish {
        struct private_range *range;
        uint64_t address, size;
        enum private_task task;
        uint32_t node; /* a host node: back to system memory */
        bool hint;
};

static int check_node(struct call *c, uint32_t node) {
        int r = find_node(c, node);

        if (r != 0)
                return r;
        if (node_desc(c->svc, node)->kind != NODE_HOST && !node_backend(c->svc, node)->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s cannot have private memory: only devices whose driver moves it can, and host nodes",
                              node_desc(c->svc, node)->name);
        if (c->svc->state.nodes[node].offline)
                return refuse_off(c, node);
        return 0;
}

/* The number of the node's file of the range's session. */
static int check_file(struct call *c, const struct wish *x, uint32_t *ret) {
        const struct session *owner = x->range->reservation->owner;
        int file = private_device_of(owner->devices, x->node);

        *ret = PRIVATE_SYSTEM;
        if (!node_backend(c->svc, x->node)->private_ops)
                return 0;
        if (file < 0)
                return refuse(c, SVMD_STATUS_ACCESS,
                              "process %u has given svmd no file of %s, by which it could move its memory: it opens %s "
                              "and gives it (svmd_device_give)",
                              owner->pid, node_desc(c->svc, x->node)->name, node_desc(c->svc, x->node)->device);
        *ret = (uint32_t)file;
        return 0;
}

/* Without a device there is nobody to ask, and nothing that could have left. */
static int check_lane(struct call *c, const struct wish *x, struct lane **ret) {
        const struct private_client *k = x->range->reservation->owner->devices;

        if (!private_moves(k))
                return refuse(c, SVMD_STATUS_ACCESS,
                              "process %u has given svmd no file of a device yet, by which it could see its memory "
                              "(svmd_device_give)",
                              x->range->reservation->owner->pid);
        *ret = k->lane;
        return 0;
}

static int ask(struct call *c, const struct wish *x) {
        struct private_work *w;
        struct private_order *o;
        struct lane *lane;
        struct fence *f;
        uint32_t file;
        int r = check_file(c, x, &file);

        if (r == 0)
                r = check_lane(c, x, &lane);
        if (r == 0)
                r = fence_quota(c);
        if (r != 0)
                return r;
        w = alloc_zero(sizeof(*w));
        f = w ? fence_new(c, sizeof(*o), &private_fence, -1) : NULL;
        if (!f) {
                alloc_free(w);
                return -ENOMEM;
        }
        *w = (struct private_work){ .fence = f->object.id,
                                    .task = x->task,
                                    .file = file,
                                    .address = x->address,
                                    .pages = x->size / SVMD_PAGE,
                                    .places = places_hold(x->range->places),
                                    .base = x->range->reservation->va.start };
        list_init(&w->link);
        o = order_of(f);
        o->work = w;
        o->lane = lane;
        o->node = x->node;
        o->hint = x->hint;
        return 0;
}

/* Where what is evicted goes: to the node that all of it prefers, if there is one that it can be on. */
static uint32_t evict_to(const struct service *svc, const struct wish *x) {
        const struct imap_entry *e = imap_first_from(&x->range->preferred, x->address);
        uint32_t node = e ? (uint32_t)e->value - 1 : 0;

        if (!e || e->start > x->address || e->end < x->address + x->size || svc->state.nodes[node].offline ||
            private_device_of(x->range->reservation->owner->devices, node) < 0)
                return private_host_node(svc);
        return node;
}

/* Whether a device that mirrors it is asked: it is to go there, or back, and no file by which svmd sees it was given.
 */
static bool mirrored(const struct call *c, const struct wish *x, bool back) {
        const struct session *owner = x->range->reservation->owner;

        if (owner != c->session)
                return false;
        if (!back && devices_drm(c->svc, x->node))
                return true;
        return !private_moves(owner->devices) && drm_mirrors(c, UINT32_MAX, x->address, x->size) &&
               (back || (x->node < c->svc->options.machine->count && node_desc(c->svc, x->node)->kind == NODE_HOST));
}

int private_migrate(struct call *c) {
        const Svmd__V1__Migrate *op = c->op->migrate;
        struct wish x = {
                .address = op->address, .size = op->size, .task = PRIVATE_MOVE, .node = op->node, .hint = op->prefetch
        };
        int r = private_find(c, op->partition, x.address, &x.size, &x.range);

        if (r == 0 && mirrored(c, &x, op->evict))
                return drm_prefetch(c, op->evict ? private_host_node(c->svc) : op->node, x.address, x.size);
        if (r == 0 && op->evict)
                x.node = evict_to(c->svc, &x);
        else if (r == 0)
                r = check_node(c, x.node);
        return r == 0 ? ask(c, &x) : r;
}

static int refuse_other(struct call *c, uint64_t address) {
        return refuse(c, SVMD_STATUS_INVALID,
                      "no private reservation is at 0x%" PRIx64 ": %s is for those; of shared ones svmd knows all",
                      address, op_row(c->op->op_case)->name);
}

int op_observe(struct call *c) {
        const Svmd__V1__Observe *op = c->op->observe;
        struct wish x = { .address = op->address, .size = op->size, .task = PRIVATE_LOOK };
        int r = private_find(c, op->partition, x.address, &x.size, &x.range);

        if (r == PRIVATE_OTHER)
                return refuse_other(c, x.address);
        x.node = private_host_node(c->svc);
        return r == 0 ? ask(c, &x) : r;
}

int op_exclusive(struct call *c) {
        const Svmd__V1__Exclusive *op = c->op->exclusive;
        struct wish x = { .address = op->address, .size = op->size, .task = PRIVATE_TAKE, .node = op->node };
        int r = private_find(c, "", x.address, &x.size, &x.range);

        if (r == PRIVATE_OTHER)
                return refuse_other(c, x.address);
        if (r == 0)
                r = check_node(c, x.node);
        if (r == 0 && !node_backend(c->svc, x.node)->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s is no device: only one can use pages exclusively",
                              node_desc(c->svc, x.node)->name);
        return r == 0 ? ask(c, &x) : r;
}

/* ---- register ---- */

/* Until the transaction commits, undoing is freeing it. */
static void outside_undo(struct tx *tx, struct change *c) {
        private_end(tx->svc, c->a);
        reservation_unlink(&tx->svc->state, c->a);
        reservation_free(c->a);
}

static const struct change_kind outside_change = { outside_undo, NULL };

int private_begin_outside(struct call *c, uint64_t address, uint64_t size) {
        struct reservation_args args = { .id = state_take_id(&c->svc->state),
                                         .address = address,
                                         .size = size,
                                         .generation = ++c->svc->generation,
                                         .outside = true };
        struct effect_private e = { .reservation = args.id };
        struct reservation *r;

        if (tx_room(c->tx, 1) < 0 || reservation_new(&r, &c->svc->state, c->session->partition, c->session, &args) != 0)
                return -ENOMEM;
        tx_push(c->tx, &outside_change, r, NULL);
        if (private_begin(c->svc, r) < 0)
                return -ENOMEM;
        effect_reserve(c->tx, r);
        tx_effect(c->tx, EFFECT_PRIVATE, &e, sizeof(e));
        c->result->id = r->object.id;
        c->result->address = address;
        c->result->size = size;
        c->result->generation = r->generation;
        return 0;
}

int private_unregister(struct call *c, struct reservation *r) {
        c->result->address = r->va.start;
        c->result->size = r->va.size;
        return reservation_give_up(c, r);
}

/* ---- advice ---- */

int private_advise(struct call *c) {
        const Svmd__V1__Advise *op = c->op->advise;
        EFFECT_SPLITS(struct effect_prefer) e = { 0 };
        struct private_range *p;
        uint64_t size = op->size;
        int r = private_find(c, op->partition, op->address, &size, &p);

        if (r != 0)
                return r;
        if (op->what != ADVICE(PREFERRED))
                return refuse(c, SVMD_STATUS_INVALID,
                              "of private memory only PREFERRED can be advised: its driver has no copies to read, no "
                              "access from afar and no granules that svmd could set");
        if (op->preferred && p->reservation->owner == c->session && devices_drm(c->svc, op->preferred - 1))
                return drm_prefer(c, op->preferred - 1, op->address, size);
        if (op->preferred && (r = check_node(c, op->preferred - 1)) != 0)
                return r;
        if (op->preferred && p->reservation->owner == c->session &&
            node_desc(c->svc, op->preferred - 1)->kind == NODE_HOST &&
            (r = drm_prefer(c, op->preferred - 1, op->address, size)) != 0)
                return r;
        if (imap_set(&p->preferred, op->address, op->address + size, op->preferred) < 0)
                return -ENOMEM;
        p->adviser = c->session->object.id;
        e.effect = (struct effect_prefer){ .reservation = p->reservation->object.id,
                                           .address = op->address,
                                           .size = size,
                                           .preferred = op->preferred,
                                           .session = p->adviser };
        tx_effect(c->tx, EFFECT_PREFER, &e, sizeof(e));
        return 0;
}

static Svmd__V1__AdviceResult *advice_of(struct call *c, const struct private_range *p, uint64_t address) {
        Svmd__V1__AdviceResult *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__advice_result__init(row);
        row->preferred = (uint32_t)imap_get(&p->preferred, address);
        row->session = p->adviser;
        return row;
}

int private_advice_query(struct call *c) {
        uint64_t address = c->op->advice_query->address - c->op->advice_query->address % SVMD_PAGE, size = 0;
        struct private_range *p;
        int r = private_find(c, "", address, &size, &p);

        if (r != 0)
                return r;
        c->result->advice = advice_of(c, p, address);
        if (!c->result->advice)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ADVICE;
        return 0;
}
