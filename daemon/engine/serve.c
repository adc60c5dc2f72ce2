#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * One look at the head of a granule's queue: what the table says is begun, or the demand is answered. True: the demand
 * has left the queue, and the next one can be looked at.
 *
 * Touches (faults, pins, the end of a revocation, devices) are never refused for lack of room: they wait in the node's
 * line until something has been evicted. Everything else is refused when there is no room that may be granted, or when
 * somebody waits for it.
 */
static bool is_touch(const struct demand *d) {
        return event_is_fault(d->event) || d->event == MANAGED_PIN || d->event == MANAGED_UNREVOKE ||
               d->event == MANAGED_REVOKE || event_is_device(d->event);
}

/* Tried again when a step of its change has failed. */
static bool is_insistent(const struct demand *d) {
        return is_touch(d) && !event_is_device(d->event);
}

bool serve_answer(struct demand *d, int result) {
        demand_done(d, result);
        return true;
}

/* On its way from host to host it lies in a slot of the other one already. */
static bool is_arriving(const struct managed *e, const struct work *w, const struct demand *d) {
        return d->event == MANAGED_TO_HOST && node_holds(e, w->g) && w->g->node == d->node;
}

/* Takes room on `node` for the change that is about to begin. */
bool serve_room(struct managed *e, struct work *w, struct demand *d, uint32_t node, bool place) {
        bool forced = d->forced || (place && is_arriving(e, w, d));
        enum room room = forced ? ROOM_EVICT : is_touch(d) ? ROOM_TOUCH : ROOM_GRANT;

        if (!w->turn && !forced && line_ahead(e, w->range, node))
                return false;
        w->slot = node_take(e, node, w->range, granule_index(w), place, room, &w->reserve);
        w->node = node;
        w->turn = w->slot ? false : w->turn;
        return w->slot;
}

bool serve_no_room(struct managed *e, struct work *w, struct demand *d, uint32_t node) {
        if (!is_touch(d))
                return serve_answer(d, MANAGED_E_FULL);
        history_delayed(e, d, node, history_full(e, node, w->range));
        work_park(e, w, node);
        return false;
}

/* A move that nobody waits for is bounded: a granule stays for a while, and what comes along with faults, or for
 * advice, moves a range only so often. To a node
 * without faults there is no other way than to be sent. */
static bool too_often(struct managed *e, struct work *w, struct demand *d) {
        struct managed_range *r = w->range;
        const struct policy_profile *p = profile_of(e, r);

        if (d->cause != MANAGED_BY_PREFETCH && d->cause != MANAGED_BY_ADVICE)
                return false;
        if (d->event == MANAGED_TO_NODE && !e->shape[d->node].faults)
                return false;
        d->why = MANAGED_WHY_RECENT;
        if (w->g->moved && !granule_settled(e, r, w->g))
                return true;
        d->why = 0;
        if (!p->window_moves || d->fence)
                return false;
        if (e->now - r->window_ns >= p->window_us * 1000ull) {
                r->window_ns = e->now;
                r->window_moves = 0;
        }
        return r->window_moves++ >= (uint64_t)p->window_moves * (r->count / 16 + 1);
}

/* Whether the slot stays as a copy to read; then what is mapped is protected. */
static bool keeps_copy(struct work *w, const struct demand *d, const struct view *v) {
        return d->event == MANAGED_FAULT_READ && !d->share->readonly && view_keeps_copy(v, w->node) &&
               granule_may_copy(w);
}

/* The CPU touches what a device has, which touches it as well: it comes all the same, but maybe later. */
static bool sleeps(struct managed *e, struct work *w, struct demand *d, const struct view *v, uint32_t host) {
        return event_is_fault(d->event) && thrash_concerns_cpu(v) && thrash_ask(e, w, d, v, host) == POLICY_NAP;
}

bool serve_fill(struct managed *e, struct work *w, struct demand *d) {
        struct view v;
        uint32_t host;
        bool held;

        view_of(e, w->range, granule_index(w), &v);
        host = d->event == MANAGED_TO_HOST ? d->node : view_host(&v);
        if (sleeps(e, w, d, &v, host))
                return false;
        if (!is_arriving(e, w, d) && too_often(e, w, d))
                return serve_answer(d, MANAGED_E_RATE);
        if (cap_holds(e, w, d, host, &held))
                return held;
        if (!serve_room(e, w, d, host, true))
                return is_arriving(e, w, d) ? serve_answer(d, 0) : serve_no_room(e, w, d, host);
        cap_count(e, w, host);
        work_arrives(e, w, is_arriving(e, w, d));
        w->keep = keeps_copy(w, d, &v);
        if (event_is_fault(d->event) && w->g->state == RESIDENCY_OUT)
                around_bring(e, w, host);
        if (event_is_fault(d->event) && w->g->state == RESIDENCY_EMPTY)
                around_first(e, w, d, host);
        if (event_is_fault(d->event))
                reuse_miss(e, host, w->range, w->g);
        w->g->touched = granule_stamp(e->now);
        around_group(e, w, d, host);
        change_begin(e, w, d, CHANGE_IN);
        return false;
}

static uint32_t any_device(const struct managed *e, const struct managed_range *r) {
        for (uint32_t i = 0; i < e->nodes_count; i++)
                if (!e->nodes[i].host && room_is_place(e, i, r))
                        return i;
        return MANAGED_NOWHERE;
}

/* Away from the memfd: where it was asked to, or for a revocation where there is most room. */
static bool serve_out(struct managed *e, struct work *w, struct demand *d) {
        uint32_t to = d->node;
        bool held;

        if (w->g->pins)
                return serve_answer(d, MANAGED_E_PINNED);
        if (d->event == MANAGED_REVOKE) {
                to = room_freest(e, w->range, ROOM_TOUCH, MANAGED_NOWHERE, false);
                to = to == MANAGED_NOWHERE ? any_device(e, w->range) : to;
        }
        if (to == MANAGED_NOWHERE)
                return serve_answer(d, MANAGED_E_FULL);
        if (e->nodes[to].host && w->g->host == to)
                return serve_answer(d, 0);
        if (!e->shape[to].online)
                return serve_answer(d, MANAGED_E_OFFLINE);
        if (too_often(e, w, d))
                return serve_answer(d, MANAGED_E_RATE);
        if (cap_holds(e, w, d, to, &held))
                return held;
        if (!serve_room(e, w, d, to, false))
                return serve_no_room(e, w, d, to);
        cap_count(e, w, to);
        around_group(e, w, d, to);
        change_begin(e, w, d, CHANGE_OUT);
        return false;
}

static bool serve_move(struct managed *e, struct work *w, struct demand *d) {
        bool held;

        if (!w->g->slot || (w->g->node == d->node && w->g->slot))
                return serve_answer(d, 0);
        if (w->g->pins)
                return serve_answer(d, MANAGED_E_PINNED);
        if (!e->shape[d->node].online)
                return serve_answer(d, MANAGED_E_OFFLINE);
        if (too_often(e, w, d))
                return serve_answer(d, MANAGED_E_RATE);
        if (cap_holds(e, w, d, d->node, &held))
                return held;
        if (!serve_room(e, w, d, d->node, false))
                return serve_no_room(e, w, d, d->node);
        cap_count(e, w, d->node);
        around_group(e, w, d, d->node);
        change_begin(e, w, d, CHANGE_MOVE);
        return false;
}

/* What nobody has touched begins on the device without faults that it was sent to: that cannot ask for it. */
static bool serve_begin(struct managed *e, struct work *w, struct demand *d) {
        if (w->g->pins)
                return serve_answer(d, MANAGED_E_PINNED);
        if (!e->shape[d->node].online)
                return serve_answer(d, MANAGED_E_OFFLINE);
        if (!serve_room(e, w, d, d->node, false))
                return serve_no_room(e, w, d, d->node);
        change_begin(e, w, d, CHANGE_PLACE);
        return false;
}

bool serve_change(struct managed *e, struct work *w, struct demand *d, enum change change) {
        if (change == CHANGE_DISCARD && w->g->pins)
                return serve_answer(d, MANAGED_E_PINNED);
        change_begin(e, w, d, change);
        return false;
}

static bool serve_hide(struct managed *e, struct work *w, struct demand *d) {
        if (!granule_shown(w->range, w->g, false))
                return serve_answer(d, 0);
        return list_empty(&w->mapping) && serve_change(e, w, d, CHANGE_HIDE);
}

static bool serve_map_read(struct managed *e, struct work *w, struct demand *d) {
        if (!e->c.continue_protects && !d->share->readonly)
                return list_empty(&w->mapping) && serve_change(e, w, d, CHANGE_DROP);
        map_begin(e, w, d, !d->share->readonly);
        return true;
}

static bool serve_clear(struct managed *e, struct work *w, struct demand *d) {
        if (!(w->g->flags & GRANULE_POISONED))
                return serve_answer(d, 0);
        if (w->g->state != RESIDENCY_RESIDENT)
                return serve_fill(e, w, d);
        return serve_change(e, w, d, CHANGE_CLEAR);
}

/* Chooses where a granule that has to leave its node goes, once; then it is a wish like others. */
static bool serve_away(struct managed *e, struct work *w, struct demand *d) {
        const struct granule *g = w->g;
        uint32_t wish = MANAGED_NOWHERE, from = g->slot ? g->node : g->host;

        if (!g->slot && !g->host_slot)
                return serve_answer(d, 0);
        if (g->pins)
                return serve_answer(d, MANAGED_E_PINNED);
        if (!evict_wanted(e, w->range, granule_index(w), &wish))
                wish = MANAGED_NOWHERE;
        d->node = evict_to(e, w->range, granule_index(w), from, wish, false);
        if (d->node == MANAGED_NOWHERE)
                return serve_answer(d, MANAGED_E_FULL);
        d->event = evict_by(e, g, d->node);
        d->away = false;
        return serve(e, w, d);
}

/* In the memory of the host that it is sent to. */
static bool is_home(const struct work *w, const struct demand *d) {
        const struct granule *g = w->g;

        return d->event == MANAGED_TO_HOST && (g->state == RESIDENCY_RESIDENT || g->state == RESIDENCY_DUPLICATED) &&
               (d->anywhere || g->host == d->node);
}

static bool is_mapping(enum managed_action a) {
        return a == MANAGED_MAP || a == MANAGED_MAP_READ || a == MANAGED_NOTHING;
}

/* What is asked for ahead of a touch begins where the touch is expected. */
static enum managed_action action_of(const struct work *w, const struct demand *d) {
        if (d->ahead && w->g->state == RESIDENCY_EMPTY)
                return d->event == MANAGED_TO_HOST ? MANAGED_FILL : MANAGED_PLACE;
        return managed_action((enum residency)w->g->state, d->event);
}

bool serve(struct managed *e, struct work *w, struct demand *d) {
        enum managed_action action;
        int failed = w->failed;

        if (!w->range->settled)
                return false;
        if (w->range->ending)
                return serve_answer(d, event_is_fault(d->event) ? 0 : MANAGED_E_ENDED);
        w->failed = 0;
        if (lost_concerns(e, w->g, d))
                return lost_serve(e, w, d);
        if (failed && !is_insistent(d))
                return serve_answer(d, failed);
        if (failed)
                history_failed(e, d, failed);
        if (d->hides)
                return serve_hide(e, w, d);
        if (d->away)
                return serve_away(e, w, d);
        if (is_home(w, d))
                return serve_answer(d, 0);
        action = action_of(w, d);
        if (!is_mapping(action) && !list_empty(&w->mapping))
                return false;
        switch (action) {
        case MANAGED_NOTHING:
        case MANAGED_BLOCK: return serve_answer(d, 0);
        case MANAGED_REFUSE: return serve_answer(d, MANAGED_E_REVOKED);
        case MANAGED_FILL: return serve_fill(e, w, d);
        case MANAGED_MAP: map_begin(e, w, d, false); return true;
        case MANAGED_MAP_READ: return serve_map_read(e, w, d);
        case MANAGED_COPY: return serve_out(e, w, d);
        case MANAGED_MOVE: return serve_move(e, w, d);
        case MANAGED_PUNCH:
        case MANAGED_FORGET: return serve_change(e, w, d, CHANGE_DISCARD);
        case MANAGED_DROP: return serve_change(e, w, d, CHANGE_DROP);
        case MANAGED_TAKE: return serve_change(e, w, d, CHANGE_TAKE);
        case MANAGED_RETURN: return serve_change(e, w, d, CHANGE_RETURN);
        case MANAGED_CLEAR: return serve_clear(e, w, d);
        case MANAGED_PLACE: return d->ahead ? serve_begin(e, w, d) : device_place(e, w, d);
        case MANAGED_ASK: return device_ask(e, w, d);
        case MANAGED_WAIT:
        case MANAGED_PROTECT:
        case MANAGED_GO_ON:
        case MANAGED_ABANDON:
        case MANAGED_PUNCH_AGAIN:
        case MANAGED_FILL_AGAIN:
        case MANAGED_WRITE_AGAIN:
        case MANAGED_FINISH:
        case _MANAGED_ACTION_N: break;
        }
        return false;
}
