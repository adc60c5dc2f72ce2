#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/order.h"

/*
 * Requests about granules: where they shall be, that they are empty, that they stay.
 */

/* ---- migrate ---- */

static int migrate_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        uint32_t first = o->next, count = order_piece(o);

        if (count == 0)
                return ORDER_ALL;
        o->next += count;
        if (o->node == MANAGED_NOWHERE)
                return mover_evict(svc->mover, m->range, first, count, token);
        return mover_migrate(svc->mover, m->range, first, count, o->node,
                             o->hint ? MANAGED_BY_PREFETCH : MANAGED_BY_REQUEST, token);
}

static const struct order_kind migrate_kind = {
        .next = migrate_next,
        .full = "no other node has room that may be given for it; see svmd-ctl node list",
};

static int check_node(struct call *c, uint32_t node) {
        const char *name;
        int r = find_node(c, node);

        if (r != 0)
                return r;
        name = node_desc(c->svc, node)->name;
        if (node_backend(c->svc, node)->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s moves private memory of one process only: reserve the range as PRIVATE", name);
        if (node_backend(c->svc, node)->slots && !node_desc(c->svc, node)->managed)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "no managed pages are moved to %s: an administrator allows them with managed = on in its "
                              "section of svmd.conf",
                              name);
        if (node_backend(c->svc, node)->delegated && !node_backend(c->svc, node)->slots)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "only a client itself moves pages to %s, with the device's library", name);
        if (!backend_takes_pages(node_backend(c->svc, node), node_desc(c->svc, node)))
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s has no managed pages: it is a %s node", name,
                              node_backend(c->svc, node)->name);
        if (node >= c->svc->managed.nodes_count)
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s is beyond the first %u nodes, which managed pages can use",
                              name, c->svc->managed.nodes_count);
        if (c->svc->state.nodes[node].offline)
                return refuse_off(c, node);
        return 0;
}

/* Memory of some devices is had in pieces of one size. */
static int check_granule(struct call *c, uint32_t node, const struct managed_reservation *m) {
        const struct device_slots *slots = node_backend(c->svc, node)->slots;

        if (!slots || slots->bytes == m->granule)
                return 0;
        return refuse(
                c, SVMD_STATUS_UNSUPPORTED,
                "%s takes granules of %u bytes, and this range has granules of %u: reserve it with granules of 2M",
                node_desc(c->svc, node)->name, slots->bytes, m->granule);
}

static int refuse_revoked(struct call *c, const struct managed_reservation *m) {
        if (!m->revoked)
                return 0;
        return refuse(c, SVMD_STATUS_ACCESS,
                      "the reservation at 0x%" PRIx64
                      " is revoked: its owner or an administrator has to give it back first",
                      m->reservation->va.start);
}

static int migrate_shared(struct call *c) {
        const Svmd__V1__Migrate *op = c->op->migrate;
        struct managed_reservation *m;
        uint32_t first, count;
        struct order *o;
        int r = order_at(c, op->partition, op->address, op->size, op->prefetch ? RIGHT_READ : RIGHT_WRITE, &m, &first,
                         &count);

        if (r == 0 && !op->evict)
                r = check_node(c, op->node);
        if (r == 0 && !op->evict)
                r = check_granule(c, op->node, m);
        if (r == 0 && (!op->evict || op->prefetch))
                r = refuse_revoked(c, m);
        if (r == 0)
                r = order_new(c, &o, &migrate_kind, m, first, count);
        if (r != 0)
                return r;
        o->hint = op->prefetch;
        if (!op->evict)
                o->node = op->node;
        return 0;
}

int op_migrate(struct call *c) {
        int r = private_migrate(c);

        return r == PRIVATE_OTHER ? migrate_shared(c) : r;
}

/* ---- discard ---- */

static int discard_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        uint32_t first = o->next, count = order_piece(o);

        if (count == 0)
                return ORDER_ALL;
        o->next += count;
        return mover_discard(svc->mover, m->range, first, count, token);
}

/* What clients know of the content is no longer so. */
static void discard_over(struct service *svc, struct order *o, struct managed_reservation *m, int result) {
        mover_range_generation(m->range, m->reservation->generation);
}

static const struct order_kind discard_kind = { .next = discard_next, .over = discard_over };

int op_discard(struct call *c) {
        const Svmd__V1__Discard *op = c->op->discard;
        struct managed_reservation *m;
        uint32_t first, count;
        struct order *o;
        int r = order_at(c, op->partition, op->address, op->size, RIGHT_WRITE, &m, &first, &count);

        if (r == 0)
                r = refuse_revoked(c, m);
        if (r == 0)
                r = order_new(c, &o, &discard_kind, m, first, count);
        if (r != 0)
                return r;
        managed_changed(c, m);
        return 0;
}

/* ---- pin ---- */

/* The session's count of pins is what the mover has been asked for, so that it can be given back exactly. */
static int pin_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        struct managed_member *member = managed_member_find(m, o->fence.session);
        uint32_t first = o->next, count = order_piece(o);
        int r;

        if (!member)
                return MANAGED_E_ENDED;
        if (count == 0)
                return ORDER_ALL;
        r = managed_pins_add(member, first, count);
        if (r < 0)
                return r == -EOVERFLOW ? MANAGED_E_FULL : r;
        r = mover_pin(svc->mover, m->range, first, count, token);
        if (r != 0)
                managed_pins_drop(member, first, count);
        o->next += r == 0 ? count : 0;
        o->piece = r == 0 ? count : 0;
        return r;
}

static struct effect_pin pin_effect(const struct managed_reservation *m, const struct session *s, uint32_t first,
                                    uint32_t count, int32_t times) {
        return (struct effect_pin){ .reservation = m->reservation->object.id,
                                    .session = s->object.id,
                                    .first = first,
                                    .count = count,
                                    .times = times };
}

/* All or none, and in the journal when it is all: asked again after a restart, it is done once. What a session has
 * pinned when it ends goes with it. */
static void pin_over(struct service *svc, struct order *o, struct managed_reservation *m, int result) {
        struct managed_member *member = managed_member_find(m, o->fence.session);
        EFFECT_SPLITS(struct effect_pin) e = { 0 };
        uint32_t pinned;

        if (result == ORDER_LEFT || !member)
                return;
        if (result == 0) {
                e.effect = pin_effect(m, o->fence.session, o->first, o->end - o->first, 1);
                journal_note(svc, EFFECT_PIN, &e, sizeof(e));
                return;
        }
        /* The piece that was answered so is not pinned. */
        pinned = o->next - o->first - o->piece;
        managed_pins_drop(member, o->first, o->next - o->first);
        if (pinned > 0)
                mover_unpin(svc->mover, m->range, o->first, pinned);
        leases_changed(svc);
}

static const struct order_kind pin_kind = {
        .next = pin_next,
        .over = pin_over,
        .whole = true,
        .full = "host memory cannot keep so much pinned: unpin something, or pin less",
};

static bool is_pinning(const struct session *s, const struct managed_reservation *m, uint32_t first, uint32_t count) {
        list_for_each (l, &s->fences) {
                const struct order *o = order_pending(container_of(l, struct fence, by_session), &pin_kind);

                if (o && o->reservation == m->reservation->object.id && o->first < first + count && first < o->end)
                        return true;
        }
        return false;
}

uint16_t *managed_pins_settled(const struct managed_member *member) {
        const struct session *s = member->client->session;
        uint16_t *pins = alloc_array(member->managed->count, sizeof(*pins));

        if (!pins)
                return NULL;
        memcpy(pins, member->pins, member->managed->count * sizeof(*pins));
        list_for_each (l, &s->fences) {
                const struct order *o = order_pending(container_of(l, struct fence, by_session), &pin_kind);

                if (o && o->reservation == member->managed->reservation->object.id)
                        for (uint32_t i = o->first; i < o->next; i++)
                                pins[i]--;
        }
        return pins;
}

static int unpin(struct call *c, struct managed_reservation *m, uint32_t first, uint32_t count) {
        struct managed_member *member = managed_member_find(m, c->session);
        EFFECT_SPLITS(struct effect_pin) e = { 0 };

        if (is_pinning(c->session, m, first, count))
                return refuse(c, SVMD_STATUS_BUSY,
                              "this session is pinning some of it just now: wait for that fence first");
        if (!member || !managed_pins_all(member, first, count))
                return refuse(c, SVMD_STATUS_NO_SUCH, "this session has not pinned all of it");
        managed_pins_drop(member, first, count);
        mover_unpin(c->svc->mover, m->range, first, count);
        leases_changed(c->svc);
        e.effect = pin_effect(m, c->session, first, count, -1);
        tx_effect(c->tx, EFFECT_PIN, &e, sizeof(e));
        return 0;
}

int op_pin(struct call *c) {
        const Svmd__V1__Pin *op = c->op->pin;
        struct managed_reservation *m;
        uint32_t first, count;
        struct order *o;
        int r = order_at(c, "", op->address, op->size, RIGHT_READ, &m, &first, &count);

        if (r == 0 && op->off)
                return unpin(c, m, first, count);
        if (r == 0)
                r = refuse_revoked(c, m);
        return r == 0 ? order_new(c, &o, &pin_kind, m, first, count) : r;
}
