#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Nodes use granules through translations. What the translation shows is asked for here: policy says whether the
 * granule comes to the node, a copy of it does, or it is shown where it is. The answer counts an operation in flight,
 * and no change goes beyond QUIET while there is one.
 *
 * For a node without faults nothing is moved: it is shown what lies there and what is pinned, and what was never
 * touched begins there.
 */
void serve_advice(struct managed *e, struct work *w, struct policy_advice *ret) {
        if (e->c.advice)
                e->c.advice(e->c.userdata, w->range->userdata, granule_index(w), ret);
        ret->pinned |= w->g->pins != 0;
}

enum policy_answer serve_promote(struct managed *e, struct work *w, uint32_t accessor, enum policy_access access) {
        struct policy_machine m = { e->shape, e->nodes_count };
        struct policy_advice advice = { 0 };
        struct policy_granule pg;

        serve_advice(e, w, &advice);
        granule_describe(w->range, w->g, &pg);
        return e->c.decide.promote(&m, profile_of(e, w->range), &advice, &pg, accessor, access, e->now);
}

static bool answer(struct managed *e, struct work *w, struct demand *d, int result) {
        if (!result) {
                w->g->ops++;
                w->g->touched = granule_stamp(e->now);
        }
        demand_done(d, result);
        return true;
}

static bool is_shown(const struct managed_range *r, const struct granule *g, const struct demand *d) {
        return granule_shown(r, g, d->write) >> d->node & 1;
}

/* A translation shows the memfd, or a slot of a device. */
static bool show(struct managed *e, struct work *w, struct demand *d) {
        if (w->g->state == RESIDENCY_OUT && node_holds(e, w->g))
                return serve_fill(e, w, d);
        if (granule_may_show(w->range, d->node))
                return answer(e, w, d, -ENOMEM);
        w->node = d->node;
        change_begin(e, w, d, CHANGE_SHOW);
        return false;
}

/* The granule comes to the node; with no room there it is shown where it is, or if that is impossible waits. */
static bool migrate(struct managed *e, struct work *w, struct demand *d) {
        const uint32_t *bandwidth = e->shape[d->node].bandwidth;
        uint32_t where = w->g->state == RESIDENCY_OUT ? w->g->node : w->g->host;

        if (w->g->pins || !room_is_place(e, d->node, w->range)) {
                history_refused(e, d, d->node, w->g->pins ? MANAGED_WHY_PINNED : MANAGED_WHY_LIMIT);
                return show(e, w, d);
        }
        if (!serve_room(e, w, d, d->node, false)) {
                if (bandwidth && bandwidth[where]) {
                        history_refused(e, d, d->node, history_full(e, d->node, w->range));
                        return show(e, w, d);
                }
                return serve_no_room(e, w, d, d->node);
        }
        around_bring(e, w, d->node);
        change_begin(e, w, d, w->g->state == RESIDENCY_OUT ? CHANGE_MOVE : CHANGE_OUT);
        return false;
}

static bool duplicate(struct managed *e, struct work *w, struct demand *d) {
        bool room = room_fits(e, d->node, w->range, ROOM_GRANT) && !line_ahead(e, w->range, d->node) && !w->g->pins;

        if (!room || !granule_may_copy(w) || !serve_room(e, w, d, d->node, false))
                return show(e, w, d);
        change_begin(e, w, d, CHANGE_DUPLICATE);
        return false;
}

/* Pinned, and in host memory already: what a device without faults was told, goes on being true. */
static bool stays(const struct granule *g) {
        return g->pins && g->host_slot;
}

bool device_ask(struct managed *e, struct work *w, struct demand *d) {
        struct granule *g = w->g;
        bool here = (g->state == RESIDENCY_OUT && g->node == d->node) || granule_copy(w->range, g, d->node);

        if (g->ops == OPS_MAX)
                return answer(e, w, d, -EBUSY);
        if (is_shown(w->range, g, d))
                return answer(e, w, d, 0);
        if (here)
                return show(e, w, d);
        if (!e->shape[d->node].faults)
                return stays(g) ? show(e, w, d) : answer(e, w, d, -EFAULT);
        switch (serve_promote(e, w, d->node, d->write ? POLICY_WRITE : POLICY_READ)) {
        case POLICY_MIGRATE: return g->state == RESIDENCY_DUPLICATED ? duplicate(e, w, d) : migrate(e, w, d);
        case POLICY_DUPLICATE: return g->state == RESIDENCY_OUT || d->write ? show(e, w, d) : duplicate(e, w, d);
        case POLICY_MAP: return show(e, w, d);
        }
        return show(e, w, d);
}

/* A first touch by a device. */
bool device_place(struct managed *e, struct work *w, struct demand *d) {
        uint64_t room[MANAGED_NODES_MAX];
        struct policy_machine m = { e->shape, e->nodes_count };
        struct policy_advice advice = { 0 };
        uint32_t to;

        if (!e->shape[d->node].faults && !room_is_place(e, d->node, w->range))
                return answer(e, w, d, e->shape[d->node].online ? MANAGED_E_FULL : MANAGED_E_OFFLINE);
        room_all(e, w->range, room);
        serve_advice(e, w, &advice);
        to = e->shape[d->node].faults
                     ? e->c.decide.place(&m, profile_of(e, w->range), &advice, d->node, w->range->bytes, room)
                     : d->node;
        if (to != d->node)
                room_missed(e, d->node, w->range);
        if (to == POLICY_NOWHERE || !room_is_place(e, to, w->range))
                to = room_is_place(e, d->node, w->range) ? d->node : room_host(e, w->range);
        if (e->nodes[to].host)
                return serve_fill(e, w, d);
        if (!serve_room(e, w, d, to, false))
                return serve_no_room(e, w, d, to);
        change_begin(e, w, d, CHANGE_PLACE);
        return false;
}

static void zero_slot(struct managed *e, struct work *w) {
        struct managed_step *s = work_step(w, MANAGED_ZERO_SLOT);

        s->node = w->node;
        s->slot = w->slot - 1;
        w->phase = PHASE_FILL;
        work_emit(e, w, NULL);
}

static void placed(struct managed *e, struct work *w, int result) {
        if (result || w->spoiled) {
                change_call_off(e, w, result ? result : MANAGED_E_OFFLINE);
                return;
        }
        w->g->node = (uint8_t)w->node;
        w->g->slot = w->slot;
        w->slot = 0;
        granule_record(e, w, RESIDENCY_OUT);
        change_end(e, w, 0);
}

static void node_map(struct managed *e, struct work *w) {
        const struct demand *d = container_of(w->queue.next, struct demand, link);
        const struct granule *g = w->g;
        const struct copy *c = granule_copy(w->range, g, d->node);
        struct managed_step *s = work_step(w, MANAGED_NODE_MAP);

        s->node = d->node;
        s->write = d->write;
        s->from = c ? c->node : g->state == RESIDENCY_OUT ? g->node : g->host;
        s->from_slot = (c ? c->slot : g->state == RESIDENCY_OUT ? g->slot : g->host_slot) - 1;
        w->phase = PHASE_SHOW;
        work_emit(e, w, NULL);
}

static void shown(struct managed *e, struct work *w, int result) {
        struct demand *d = container_of(w->queue.next, struct demand, link);
        bool lost = (granule_lost(w->g) && w->g->state == RESIDENCY_OUT) || e->nodes[d->node].lost;

        if (!result)
                granule_show(w->range, w->g, d->node, d->write);
        answer(e, w, d, lost ? MANAGED_E_LOST : result);
        change_end(e, w, 0);
}

void device_next(struct managed *e, struct work *w, int result) {
        switch (w->phase) {
        case PHASE_QUIET:
                if (w->change == CHANGE_PLACE)
                        zero_slot(e, w);
                else
                        node_map(e, w);
                break;
        case PHASE_FILL: placed(e, w, result); break;
        case PHASE_SHOW: shown(e, w, result); break;
        case PHASE_NONE:
        case PHASE_PROTECT:
        case PHASE_COPY:
        case PHASE_PUNCH:
        case PHASE_ROOM:
        case PHASE_ALLOCATE:
        case PHASE_WRITE:
        case PHASE_CONTINUE:
        case PHASE_RETREAT:
        case PHASE_MERGE:
        case PHASE_EVERYONE: break;
        }
}
