#include "engine/predict.h"

#include <errno.h>

#include "engine/managed-priv.h"

/*
 * The walk takes the picture of the granule from one state in which it rests to the next, as serve() takes the granule,
 * until the touch would be answered. Decisions are those of view.c; here is only what a change that succeeds makes of
 * the picture.
 */
struct walk {
        struct view v;
        struct demand d;
        struct managed_touch *ret;
        struct policy_thrash thrash;
        bool asked; /* whether it bounces */
};

/* Far more than there are states between two that rest. */
enum { STEPS = 8 };

static bool is_cpu(const struct walk *w) {
        return event_is_fault(w->d.event);
}

static void hold(struct view *v, uint32_t node) {
        v->g.node = (uint8_t)node;
        v->g.slot = 1;
}

static void unhold(struct view *v) {
        v->g.slot = 0;
}

static void settle(struct view *v, enum residency state) {
        v->g.state = (uint8_t)state;
        v->g.flags &= (uint8_t)(state == RESIDENCY_RESIDENT ? ~GRANULE_LOST : ~0);
        v->g.moved = granule_stamp(v->e->now);
}

/* The change that the walk took last is what the touch comes to, but that of what was EMPTY it is that it begins. */
static void became(struct walk *w, enum managed_outcome outcome) {
        if (w->ret->outcome != MANAGED_BEGINS)
                w->ret->outcome = outcome;
}

static bool ends(struct walk *w, enum managed_outcome outcome, enum managed_why why, int result) {
        w->ret->outcome = outcome;
        w->ret->why = why;
        w->ret->result = result;
        return false;
}

/* As serve_room() for a touch: it waits where there is none. */
static bool has_room(const struct walk *w, uint32_t node) {
        return !line_ahead(w->v.e, w->v.r, node) && room_fits(w->v.e, node, w->v.r, ROOM_TOUCH);
}

static void need_room(struct walk *w, uint32_t node) {
        if (!has_room(w, node))
                w->ret->why = history_full(w->v.e, node, w->v.r);
}

static enum policy_cure cure(struct walk *w, uint32_t accessor) {
        uint64_t until_ns;
        enum policy_cure c = thrash_view(&w->v, &w->thrash, &w->asked, accessor, &until_ns);

        if (c == POLICY_NAP)
                w->ret->why = MANAGED_WHY_THRASH;
        return c;
}

static bool walk_fill(struct walk *w) {
        struct view *v = &w->v;
        uint32_t host = view_host(v), from = v->g.node;
        bool empty = v->g.state == RESIDENCY_EMPTY;
        bool keeps = w->d.event == MANAGED_FAULT_READ && view_keeps_copy(v, host);

        if (is_cpu(w) && thrash_concerns_cpu(v))
                (void)cure(w, host);
        need_room(w, host);
        became(w, empty ? MANAGED_BEGINS : keeps ? MANAGED_COPIES : MANAGED_MOVES);
        v->g.touched = granule_stamp(v->e->now);
        v->g.ins += v->g.slot && v->g.ins < UINT16_MAX;
        v->copies = keeps ? 1ull << from : 0;
        unhold(v);
        v->g.host = (uint8_t)host;
        v->g.host_slot = 1;
        settle(v, keeps ? RESIDENCY_DUPLICATED : RESIDENCY_RESIDENT);
        return !is_cpu(w); /* who pays for it has it mapped */
}

static bool walk_drop(struct walk *w) {
        w->v.copies = 0;
        settle(&w->v, RESIDENCY_RESIDENT);
        return true;
}

static bool walk_place(struct walk *w) {
        int failed;
        uint32_t to = view_begins(&w->v, w->d.node, &failed);

        if (failed)
                return ends(w, MANAGED_TOUCH_FAILS, failed == MANAGED_E_FULL ? MANAGED_WHY_LIMIT : MANAGED_WHY_OFFLINE,
                            failed);
        if (w->v.e->nodes[to].host)
                return walk_fill(w);
        need_room(w, to);
        became(w, MANAGED_BEGINS);
        hold(&w->v, to);
        settle(&w->v, RESIDENCY_OUT);
        return true;
}

static bool walk_out(struct walk *w) {
        struct view *v = &w->v;

        became(w, MANAGED_MOVES);
        v->g.outs += v->g.host_slot && v->g.outs < UINT16_MAX;
        v->g.host_slot = 0;
        hold(v, w->d.node);
        settle(v, RESIDENCY_OUT);
        return true;
}

/* Its translation shows it: what lies in a slot of a host comes in first. */
static bool walk_show(struct walk *w, enum managed_why why) {
        struct view *v = &w->v;

        if (v->g.state == RESIDENCY_OUT && node_holds(v->e, &v->g))
                return walk_fill(w);
        if (!view_is_on(v, w->d.node)) {
                became(w, MANAGED_MAPS);
                w->ret->why = why;
        }
        return false;
}

static bool walk_migrate(struct walk *w) {
        enum managed_why why = view_stays(&w->v, w->d.node);

        if (why)
                return walk_show(w, why);
        if (!has_room(w, w->d.node) && view_reaches(&w->v, w->d.node))
                return walk_show(w, history_full(w->v.e, w->d.node, w->v.r));
        need_room(w, w->d.node);
        return walk_out(w);
}

/* Unless it bounces. */
static bool walk_come(struct walk *w) {
        switch (cure(w, w->d.node)) {
        case POLICY_STAY: return walk_show(w, MANAGED_WHY_THRASH);
        case POLICY_HOST: return w->v.g.state == RESIDENCY_OUT ? walk_fill(w) : walk_migrate(w);
        case POLICY_LET:
        case POLICY_NAP: break;
        }
        if (view_shares(&w->v, w->d.node))
                return walk_show(w, history_full(w->v.e, w->d.node, w->v.r));
        if (cap_maps(&w->v, w->d.node))
                return walk_show(w, MANAGED_WHY_CAP);
        return walk_migrate(w);
}

static bool walk_duplicate(struct walk *w) {
        if (!view_may_copy(&w->v, w->d.node))
                return walk_show(w, w->v.g.pins ? MANAGED_WHY_PINNED : history_full(w->v.e, w->d.node, w->v.r));
        became(w, MANAGED_COPIES);
        w->v.copies |= 1ull << w->d.node;
        settle(&w->v, RESIDENCY_DUPLICATED);
        return true;
}

static bool walk_ask(struct walk *w) {
        enum managed_why why = MANAGED_WHY_NONE;

        switch (view_device(&w->v, w->d.node, w->d.write, &why)) {
        case VERDICT_SHOW: return walk_show(w, why);
        case VERDICT_MIGRATE: return walk_come(w);
        case VERDICT_DUPLICATE: return walk_duplicate(w);
        case VERDICT_FAIL: break;
        }
        return ends(w, MANAGED_TOUCH_FAILS, MANAGED_WHY_FAULTLESS, -EFAULT);
}

/* As lost_serve(). */
static bool walk_lost(struct walk *w) {
        if (!is_cpu(w) && !w->v.e->nodes[w->d.node].lost && w->v.g.state == RESIDENCY_DUPLICATED)
                return walk_drop(w);
        if (is_cpu(w) && !w->v.r->poison)
                return ends(w, MANAGED_TOUCH_WAITS, MANAGED_WHY_LOST, MANAGED_E_LOST);
        return ends(w, MANAGED_TOUCH_FAILS, MANAGED_WHY_LOST, MANAGED_E_LOST);
}

/* The node's translation lets it: no fault. */
static bool is_shown(const struct walk *w) {
        const struct view *v = &w->v;

        return !is_cpu(w) && !granule_lost(&v->g) && !v->e->nodes[w->d.node].lost &&
               granule_shown(v->r, granule_of(v->r, v->index), w->d.write) >> w->d.node & 1;
}

/* False: the touch is answered. */
static bool walk_on(struct walk *w) {
        enum managed_action action = managed_action((enum residency)w->v.g.state, w->d.event);

        if (lost_concerns(w->v.e, &w->v.g, &w->d))
                return walk_lost(w);
        switch ((int)action) {
        case MANAGED_NOTHING:
        case MANAGED_MAP: return false;
        case MANAGED_MAP_READ: return w->v.e->c.continue_protects ? false : walk_drop(w);
        case MANAGED_BLOCK:
                return ends(w, w->v.r->poison ? MANAGED_TOUCH_FAILS : MANAGED_TOUCH_WAITS, MANAGED_WHY_REVOKED,
                            MANAGED_E_REVOKED);
        case MANAGED_REFUSE: return ends(w, MANAGED_TOUCH_FAILS, MANAGED_WHY_REVOKED, MANAGED_E_REVOKED);
        case MANAGED_FILL: return walk_fill(w);
        case MANAGED_DROP: return walk_drop(w);
        case MANAGED_PLACE: return walk_place(w);
        case MANAGED_ASK: return walk_ask(w);
        default: return ends(w, MANAGED_TOUCH_WAITS, MANAGED_WHY_USED, 0);
        }
}

static uint32_t holder(const struct view *v) {
        if (v->g.slot || granule_lost(&v->g))
                return v->g.node;
        return v->g.host_slot ? v->g.host : MANAGED_NOWHERE;
}

/* What the node that asks has of it is what it uses. */
static uint32_t used_on(const struct walk *w) {
        return !is_cpu(w) && view_is_on(&w->v, w->d.node) ? w->d.node : holder(&w->v);
}

void managed_predict(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write,
                     uint64_t now_ns, struct managed_touch *ret) {
        struct walk w = { .d = { .node = node, .write = write }, .ret = ret };
        bool cpu = node == MANAGED_NOWHERE;

        e->now = now_ns;
        *ret = (struct managed_touch){ .outcome = MANAGED_IS_HERE };
        w.d.event = cpu     ? write ? MANAGED_FAULT_WRITE : MANAGED_FAULT_READ
                    : write ? MANAGED_DEVICE_WRITE
                            : MANAGED_DEVICE_READ;
        view_of(e, r, granule, &w.v);
        thrash_tell(r, granule, &w.thrash);
        if (!r->settled)
                ends(&w, MANAGED_TOUCH_WAITS, MANAGED_WHY_USED, 0);
        else if (r->ending)
                ends(&w, MANAGED_TOUCH_FAILS, MANAGED_WHY_NONE, MANAGED_E_ENDED);
        else if (is_shown(&w))
                ret->outcome = view_is_on(&w.v, node) ? MANAGED_IS_HERE : MANAGED_MAPS;
        else
                for (unsigned i = 0; i < STEPS && walk_on(&w); i++)
                        ;
        ret->state = (enum residency)w.v.g.state;
        ret->node = holder(&w.v);
        ret->copies = w.v.copies;
        ret->to = ret->outcome == MANAGED_TOUCH_FAILS || ret->outcome == MANAGED_TOUCH_WAITS ? MANAGED_NOWHERE
                                                                                             : used_on(&w);
}
