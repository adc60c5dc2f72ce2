#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * A change takes a granule from one settled state to another, phase after phase, one step (or one walk over the
 * sessions) at a time. It begins only when no session is being mapped, and while it goes on nothing else is begun:
 * protection can neither be lifted by a step that was emitted earlier, nor can two changes cross.
 *
 *     QUIET -> (record) -> PROTECT -> COPY -> (record) -> PUNCH -> (record)         out.c
 *     QUIET -> (record) -> FILL -> (record)                                         in.c
 *     QUIET -> (record) -> WRITE -> (record) -> CONTINUE -> (record)                in.c
 *
 * QUIET: the operations that used the granule have ended, none begins, and no node's translation shows it any more: in
 * this order, so what a device was told that it may use stays there while it does. Of all that a change does this comes
 * first, so a device writes neither what is being copied nor what has been punched.
 */
static bool is_guarded(enum residency s) {
        return managed_action(s, MANAGED_JOIN) == MANAGED_PROTECT;
}

/* States in which a slot is the truth. */
static bool is_away(enum residency s) {
        return s == RESIDENCY_PUNCHING || s == RESIDENCY_OUT || s == RESIDENCY_REVOKED;
}

static bool rests_at_home(enum residency s) {
        return s == RESIDENCY_EMPTY || s == RESIDENCY_RESIDENT;
}

void granule_note(struct managed *e, struct managed_range *r, struct granule *g, enum residency state,
                  enum managed_cause cause) {
        bool host = g->host_slot && state != RESIDENCY_EMPTY, lost = granule_lost(g) && is_away(state);
        bool slot = g->slot && !lost && state != RESIDENCY_RESIDENT;
        struct managed_record record = {
                .range = r->userdata,
                .granule = (uint32_t)(g - r->granules),
                .state = state,
                .cause = cause,
                .node = slot || lost ? g->node : MANAGED_NOWHERE,
                .slot = slot ? g->slot - 1 : MANAGED_NOWHERE,
                .host = host ? g->host : MANAGED_NOWHERE,
                .cgroup = host && g->cgroup ? e->cgroups[g->cgroup].id : 0,
        };

        r->guarded += is_guarded(state);
        r->guarded -= is_guarded((enum residency)g->state);
        if (g->state != state && (state == RESIDENCY_OUT || state == RESIDENCY_RESIDENT)) {
                g->moved = granule_stamp(e->now);
                g->cause = (uint8_t)cause;
        }
        if (rests_at_home(state))
                g->flags &= (uint8_t)~GRANULE_LOST;
        g->state = (uint8_t)state;
        e->c.intent(e->c.userdata, &record);
}

void granule_record(struct managed *e, struct work *w, enum residency state) {
        granule_note(e, w->range, w->g, state, w->cause);
}

struct managed_step *work_step(struct work *w, enum managed_step_type type) {
        struct managed_step *s = step_new(&w->step, w->range, granule_index(w), type);

        if (w->g->slot) {
                s->node = w->g->node;
                s->slot = w->g->slot - 1;
        }
        return s;
}

void work_emit(struct managed *e, struct work *w, struct share *share) {
        step_emit(e, &w->step, share);
}

/* The step in the next session that the walk has not seen. False: it has seen all. */
bool change_walk(struct managed *e, struct work *w, enum managed_step_type type) {
        struct managed_step *step;

        list_for_each (it, &w->range->shares) {
                struct share *s = container_of(it, struct share, by_range);

                if (s->id <= w->cursor || s->gone || s->left || (s->readonly && type == MANAGED_WRITE_PROTECT))
                        continue;
                w->cursor = s->id;
                step = work_step(w, type);
                step->wake = type == MANAGED_CONTINUE;
                work_emit(e, w, s);
                return true;
        }
        return false;
}

/* Somebody wants it there, and has not used it yet. */
static bool is_expected(const struct demand *d) {
        return d->cause == MANAGED_BY_PREFETCH || d->cause == MANAGED_BY_REQUEST || d->cause == MANAGED_BY_ADVICE;
}

void change_begin(struct managed *e, struct work *w, struct demand *d, enum change change) {
        if (is_expected(d))
                reuse_bring(e, w->node, w->range, w->g);
        w->change = change;
        w->cause = d->cause;
        w->began_ns = e->now;
        w->failed = 0;
        w->tries = 0;
        w->insists = false;
        w->spoiled = w->slot && e->nodes[w->node].lost;
        w->cursor = 0;
        history_begin(w, d);
        if (w->g->ops && change != CHANGE_SHOW)
                history_delayed(e, d, w->slot ? w->node : MANAGED_NOWHERE, MANAGED_WHY_USED);
        change_quiet(e, w);
}

void change_end(struct managed *e, struct work *w, int failed) {
        if (!failed)
                history_end(e, w);
        w->change = CHANGE_NONE;
        w->phase = PHASE_NONE;
        w->failed = failed;
        w->payer = NULL;
        e->changes++;
        work_arrives(e, w, false);
        if (w->reserve)
                e->reserve_works--;
        w->reserve = false;
        if (w->settling) {
                w->settling = false;
                e->settling--;
        }
        work_todo(e, w);
        restore_settled(e);
}

void change_call_off(struct managed *e, struct work *w, int failed) {
        node_give(e, w->node, w->range, w->slot);
        w->slot = 0;
        change_end(e, w, failed);
}

void change_quiet(struct managed *e, struct work *w) {
        uint64_t shown = granule_shown(w->range, w->g, false);

        w->phase = PHASE_QUIET;
        if (w->change == CHANGE_SHOW) {
                change_quietened(e, w);
                return;
        }
        if (w->g->ops)
                return;
        if (shown) {
                struct managed_step *s = work_step(w, MANAGED_INVALIDATE);

                s->node = (uint32_t)__builtin_ctzll(shown);
                work_emit(e, w, NULL);
                return;
        }
        change_quietened(e, w);
}

void work_step_done(struct managed *e, struct work *w, int result) {
        if (w->phase == PHASE_QUIET) {
                granule_hide(w->range, w->g, w->step.pub.node);
                change_quiet(e, w);
                return;
        }
        switch (w->change) {
        case CHANGE_OUT:
        case CHANGE_DUPLICATE:
        case CHANGE_MOVE:
        case CHANGE_DISCARD:
        case CHANGE_DROP:
        case CHANGE_TAKE:
        case CHANGE_LOSE:
        case CHANGE_RETURN: out_next(e, w, result); break;
        case CHANGE_IN:
        case CHANGE_CLEAR: in_next(e, w, result); break;
        case CHANGE_PLACE:
        case CHANGE_SHOW: device_next(e, w, result); break;
        case CHANGE_HIDE:
        case CHANGE_NONE: break;
        }
}

void managed_device_end(struct managed *e, struct managed_range *r, uint32_t granule, uint64_t now_ns) {
        struct granule *g = granule_of(r, granule);
        struct work *w = g->work;

        e->now = now_ns;
        g->ops--;
        g->touched = granule_stamp(now_ns);
        e->changes++;
        if (w && w->phase == PHASE_QUIET && !w->step.out)
                change_quiet(e, w);
        range_ended(e, r);
        managed_run(e);
}

bool managed_device_begin(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write) {
        struct granule *g = granule_of(r, granule);

        if (!(granule_shown(r, g, write) >> node & 1) || granule_lost(g) || e->nodes[node].lost || g->ops == OPS_MAX ||
            r->ending || (g->work && g->work->phase == PHASE_QUIET))
                return false;
        g->ops++;
        reuse_use(r->engine, r, g);
        return true;
}
