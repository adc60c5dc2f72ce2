#include "service/order.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/by_id.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/internal.h"
#include "service/lookup.h"

/*
 * An order is handed to the mover a piece at a time, and a session has a bounded number of pieces there; so neither the
 * loop nor the engine is long at one request, and what a client can make svmd keep is bounded.
 *
 *      starting --> waits for its turn --> a piece is with the mover --> over
 *                         ^                        |
 *                         +--- answered: the next -+
 *
 * The mover's answers are noted while it tells, and acted on when it has told everything: it must not be called from
 * within. The reservation may end at any time; an order knows it by its id.
 */
#define PIECE      4096 /* granules */
#define PIECES_OUT 8    /* of a session */

static struct managed_reservation *managed_by_id(struct service *svc, uint64_t id) {
        struct reservation *r = reservation_by_id(&svc->state, id);

        return r ? managed_of(r) : NULL;
}

static struct order *order_of(struct fence *f) {
        return container_of(f, struct order, fence);
}

/* ---- what came of it, for a person ---- */

static void say_full(struct service *svc, const struct order *o, char *text, size_t size) {
        if (o->node != MANAGED_NOWHERE)
                snprintf(text, size, "%s has no room for all of it, or limits allow no more there; see svmd-ctl usage",
                         node_desc(svc, o->node)->name);
        else
                snprintf(text, size, "%s", o->kind->full ? o->kind->full : "no node has room for it");
}

static bool pins_some(const struct managed_member *member, const struct order *o) {
        for (uint32_t i = o->first; member->pins && i < o->end; i++)
                if (member->pins[i])
                        return true;
        return false;
}

static void say_pinned(const struct order *o, const struct managed_reservation *m, char *text, size_t size) {
        const struct session *s = NULL;

        if (m)
                list_for_each (l, &m->members) {
                        const struct managed_member *member = container_of(l, struct managed_member, by_reservation);

                        if (!s && pins_some(member, o))
                                s = member->client->session;
                }
        if (s)
                snprintf(text, size, "part of it is pinned, by session %llu (pid %u), and stays until it is unpinned",
                         (unsigned long long)s->object.id, s->pid);
        else
                snprintf(text, size, "part of it is pinned, and stays until it is unpinned");
}

static void say_offline(struct service *svc, const struct order *o, char *text, size_t size) {
        if (o->node != MANAGED_NOWHERE)
                say_off(svc, o->node, text, size);
        else
                snprintf(text, size, "every node that it could go to is offline: svmd-ctl node online");
}

static unsigned say(struct service *svc, const struct order *o, const struct managed_reservation *m, char *text,
                    size_t size) {
        switch (o->result) {
        case 0: return SVMD_STATUS_OK;
        case MANAGED_E_FULL: say_full(svc, o, text, size); return SVMD_STATUS_NO_ROOM;
        case MANAGED_E_PINNED: say_pinned(o, m, text, size); return SVMD_STATUS_BUSY;
        case MANAGED_E_REVOKED:
                snprintf(text, size, "the reservation is revoked: its owner or an administrator has to give it back");
                return SVMD_STATUS_ACCESS;
        case MANAGED_E_RATE:
                snprintf(text, size, "part of it has moved a moment ago, or too often; try again later");
                return SVMD_STATUS_BUSY;
        case MANAGED_E_OFFLINE: say_offline(svc, o, text, size); return SVMD_STATUS_NO_NODE;
        case MANAGED_E_LOST:
                snprintf(text, size,
                         "the content of part of it was lost with a node: discard that part to use it again");
                return SVMD_STATUS_GONE;
        case MANAGED_E_ENDED: snprintf(text, size, "the reservation ended first"); return SVMD_STATUS_GONE;
        case -ENOMEM:
                snprintf(text, size, "svmd has no memory left to do it; part of it may be done");
                return SVMD_STATUS_NO_MEMORY;
        default:
                snprintf(text, size, "granules cannot be moved: %s; part of it may be done", strerror(-o->result));
                return SVMD_STATUS_SYSTEM;
        }
}

/* ---- steps ---- */

static void order_over(struct service *svc, struct order *o) {
        struct device_result d = { .fence = o->fence.object.id };

        o->ended = true;
        d.code = say(svc, o, managed_by_id(svc, o->reservation), d.text, sizeof(d.text));
        fence_finish(svc, &o->fence, &d);
}

static void note(struct order *o, int result) {
        bool forgiven = o->hint && (result == MANAGED_E_FULL || result == MANAGED_E_PINNED || result == MANAGED_E_RATE);

        if (!forgiven && (o->result == 0 || result < 0))
                o->result = result ? result : o->result;
}

/* False: nothing of it is with the mover, and it is over. */
static bool step(struct service *svc, struct order *o) {
        for (;;) {
                struct managed_reservation *m = managed_by_id(svc, o->reservation);
                int r = m ? o->kind->next(svc, o, m, ANSWER(ANSWER_FENCE, o->fence.object.id)) : MANAGED_E_ENDED;

                if (r == 0)
                        return true;
                if (r != ORDER_ALL)
                        note(o, r);
                if (r == ORDER_ALL || !m || (o->kind->whole && o->result))
                        return false;
        }
}

/* Those whose turn has come. */
static void pump(struct service *svc, struct session *s) {
        while (s->orders_out < PIECES_OUT && !list_empty(&s->orders)) {
                struct order *o = order_of(container_of(s->orders.next, struct fence, starting));

                list_remove(&o->fence.starting);
                s->orders_out++;
                if (step(svc, o))
                        continue;
                s->orders_out--;
                order_over(svc, o);
        }
}

static void order_start(struct service *svc, struct fence *f) {
        list_push_back(&f->session->orders, &f->starting);
        pump(svc, f->session);
}

static void order_end(struct service *svc, struct fence *f) {
        struct order *o = order_of(f);
        struct managed_reservation *m = managed_by_id(svc, o->reservation);

        list_remove(&o->answered);
        if (o->kind->over && m && !svc->replaying)
                o->kind->over(svc, o, m, o->ended ? o->result : ORDER_LEFT);
}

static void order_answer(struct service *svc, struct fence *f, int result) {
        struct order *o = order_of(f);

        o->answer = result;
        list_push_back(&svc->managed.answered, &o->answered);
}

static const struct fence_kind order_fence = { order_start, order_end, order_answer };

void managed_fence_done(struct service *svc, uint64_t fence, int result) {
        struct fence *f = fence_by_id(svc, fence);

        if (f && f->kind->answer && !f->done)
                f->kind->answer(svc, f, result);
}

void orders_collect(struct service *svc) {
        while (!list_empty(&svc->managed.answered)) {
                struct order *o = container_of(svc->managed.answered.next, struct order, answered);
                struct session *s = o->fence.session;

                list_remove(&o->answered);
                s->orders_out--;
                note(o, o->answer);
                if (o->kind->whole && o->result)
                        order_over(svc, o);
                else
                        list_push_back(&s->orders, &o->fence.starting);
                pump(svc, s);
        }
}

/* ---- making one ---- */

int order_at(struct call *c, const char *partition, uint64_t address, uint64_t size, unsigned access,
             struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_count) {
        struct partition *p;
        int r = call_partition(c, partition, &p);

        if (r != 0)
                return r;
        return managed_at(c, p, address, size, partition[0] ? 0 : access, ret, ret_first, ret_count);
}

int order_around(struct call *c, const char *partition, uint64_t address, unsigned access,
                 struct managed_reservation **ret, uint32_t *ret_granule) {
        struct partition *p;
        int r = call_partition(c, partition, &p);

        if (r != 0)
                return r;
        return managed_around(c, p, address, partition[0] ? 0 : access, ret, ret_granule);
}

int order_touched(struct call *c, const char *partition, uint64_t address, uint64_t size, unsigned access,
                  struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_end) {
        const struct managed_reservation *m;
        uint64_t offset, left;
        int r = order_around(c, partition, address, access, ret, ret_first);

        if (r != 0)
                return r;
        m = *ret;
        offset = address - m->reservation->va.start;
        left = m->reservation->va.size - offset;
        if (size > left)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of the reservation, 0x%" PRIx64, size,
                              address, address + left);
        *ret_end = (uint32_t)((offset + (size ? size : left) + m->granule - 1) / m->granule);
        return 0;
}

int order_new(struct call *c, struct order **ret, const struct order_kind *kind, const struct managed_reservation *m,
              uint32_t first, uint32_t count) {
        int r = fence_quota(c);
        struct order *o;
        struct fence *f;

        if (r != 0)
                return r;
        f = fence_new(c, sizeof(*o), &order_fence, -1);
        if (!f)
                return -ENOMEM;
        o = order_of(f);
        o->kind = kind;
        o->reservation = m->reservation->object.id;
        o->first = o->next = first;
        o->end = first + count;
        o->node = MANAGED_NOWHERE;
        list_init(&o->answered);
        *ret = o;
        return 0;
}

uint32_t order_piece(const struct order *o) {
        return o->end - o->next < PIECE ? o->end - o->next : PIECE;
}

const struct order *order_pending(const struct fence *f, const struct order_kind *kind) {
        const struct order *o = container_of(f, struct order, fence);

        return f->kind == &order_fence && !f->done && o->kind == kind ? o : NULL;
}
