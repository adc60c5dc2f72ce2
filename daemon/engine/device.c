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
static bool answer(struct managed *e, struct work *w, struct demand *d, int result) {
        if (!result) {
                w->g->ops++;
                w->g->touched = granule_stamp(e->now);
                reuse_use(e, w->range, w->g);
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
static bool migrate(struct managed *e, struct work *w, struct demand *d, const struct view *v) {
        enum managed_why why = view_stays(v, d->node);

        if (why) {
                history_refused(e, d, d->node, why);
                return show(e, w, d);
        }
        if (!serve_room(e, w, d, d->node, false)) {
                if (!view_reaches(v, d->node))
                        return serve_no_room(e, w, d, d->node);
                history_refused(e, d, d->node, history_full(e, d->node, w->range));
                return show(e, w, d);
        }
        reuse_miss(e, d->node, w->range, w->g);
        cap_count(e, w, d->node);
        around_bring(e, w, d->node);
        around_group(e, w, d, d->node);
        change_begin(e, w, d, w->g->state == RESIDENCY_OUT ? CHANGE_MOVE : CHANGE_OUT);
        return false;
}

static bool duplicate(struct managed *e, struct work *w, struct demand *d, const struct view *v) {
        if (!view_may_copy(v, d->node) || !granule_may_copy(w) || !serve_room(e, w, d, d->node, false))
                return show(e, w, d);
        reuse_miss(e, d->node, w->range, w->g);
        cap_count(e, w, d->node);
        change_begin(e, w, d, CHANGE_DUPLICATE);
        return false;
}

/* What would come, unless it bounces. */
static bool come(struct managed *e, struct work *w, struct demand *d, const struct view *v) {
        switch (thrash_ask(e, w, d, v, d->node)) {
        case POLICY_LET: break;
        case POLICY_STAY: d->why = MANAGED_WHY_THRASH; return show(e, w, d);
        case POLICY_HOST:
                if (w->g->state == RESIDENCY_OUT)
                        return serve_fill(e, w, d);
                break;
        case POLICY_NAP: return false;
        }
        if (view_shares(v, d->node)) {
                d->why = (uint8_t)history_full(e, d->node, w->range);
                return show(e, w, d);
        }
        if (cap_maps(v, d->node)) {
                cap_mapped(v, d->node);
                d->why = MANAGED_WHY_CAP;
                return show(e, w, d);
        }
        return migrate(e, w, d, v);
}

bool device_ask(struct managed *e, struct work *w, struct demand *d) {
        enum managed_why why = MANAGED_WHY_NONE;
        struct view v;

        if (w->g->ops == OPS_MAX)
                return answer(e, w, d, -EBUSY);
        if (is_shown(w->range, w->g, d))
                return answer(e, w, d, 0);
        view_of(e, w->range, granule_index(w), &v);
        switch (view_device(&v, d->node, d->write, &why)) {
        case VERDICT_FAIL: return answer(e, w, d, -EFAULT);
        case VERDICT_MIGRATE: return come(e, w, d, &v);
        case VERDICT_DUPLICATE: return duplicate(e, w, d, &v);
        case VERDICT_SHOW: break;
        }
        d->why = (uint8_t)why;
        return show(e, w, d);
}

/* A first touch by a device. */
bool device_place(struct managed *e, struct work *w, struct demand *d) {
        struct view v;
        uint32_t to;
        int failed;

        view_of(e, w->range, granule_index(w), &v);
        to = view_begins(&v, d->node, &failed);
        if (failed)
                return answer(e, w, d, failed);
        if (to != d->node)
                room_missed(e, d->node, w->range);
        if (e->nodes[to].host)
                return serve_fill(e, w, d);
        if (!serve_room(e, w, d, to, false))
                return serve_no_room(e, w, d, to);
        change_begin(e, w, d, CHANGE_PLACE);
        return false;
}

int managed_device_show(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node,
                        uint32_t *ret_slot) {
        struct granule *g = granule_of(r, granule);
        int k;

        if (g->state != RESIDENCY_OUT || !g->slot || g->node != node || granule_lost(g) || e->nodes[node].lost ||
            r->ending || (g->work && g->work->change != CHANGE_NONE))
                return -ENOENT;
        k = granule_may_show(r, node);
        if (k)
                return k;
        granule_show(r, g, node, true);
        *ret_slot = g->slot - 1;
        return 0;
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
