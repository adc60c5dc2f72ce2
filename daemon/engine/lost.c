#include "engine/managed-priv.h"

/*
 * A node that vanishes takes what lay there along.
 *
 *     RESIDENT, CONTINUING                  nothing is lost
 *     COPYING, DUPLICATED                   the memfd is the truth: the copy is called off, the copies are dropped
 *     OUT, REVOKED                          lost
 *     PUNCHING                              lost; the punch goes on to OUT
 *     FILLING, WRITING                      PUNCHING, and so lost: the memfd has a part of it at most
 *     a target of a change that goes on     another one is looked for
 *
 * What is lost is recorded at once, as a node and no slot, so it is so after a restart too. The slot stays with the
 * granule until no translation shows it and no operation uses it; then the clock's hand, which empties the node anyway,
 * frees it. Steps that would read a slot that is lost and have not been taken are made harmless; those that are out
 * come to nothing, as what they made is punched, dropped or given back.
 */
void lost_free(struct managed *e, struct managed_range *r, struct granule *g) {
        uint32_t slot = g->slot;

        g->slot = 0;
        if (slot)
                node_give(e, g->node, r, slot);
}

void step_defuse(struct step *s) {
        const struct work *w = s->owner == OWNER_WORK ? container_of(s, struct work, step) : NULL;
        struct managed_step *pub = &s->pub;

        if (!w || !granule_lost(w->g))
                return;
        switch ((int)pub->type) {
        case MANAGED_COPY_IN: pub->type = MANAGED_WAKE; break;
        case MANAGED_WRITE_BACK: pub->type = MANAGED_PUNCH_HOLE; break;
        case MANAGED_COPY_NODE: pub->type = MANAGED_ZERO_SLOT; break;
        case MANAGED_NODE_MAP:
                if (w->g->state == RESIDENCY_OUT)
                        pub->type = MANAGED_INVALIDATE;
                break;
        default: break;
        }
}

/* Queues of steps that nobody has taken. */
static void defuse_all(struct list queues[URGENCIES]) {
        for (unsigned u = 0; u < URGENCIES; u++)
                list_for_each (it, &queues[u])
                        step_defuse(container_of(it, struct step, link));
}

static void lose(struct managed *e, struct managed_range *r, struct granule *g) {
        enum residency state = (enum residency)g->state;

        g->flags |= GRANULE_LOST;
        if (state == RESIDENCY_COPYING || state == RESIDENCY_DUPLICATED)
                return;
        if (state == RESIDENCY_FILLING || state == RESIDENCY_WRITING)
                state = RESIDENCY_PUNCHING;
        granule_note(e, r, g, state, (enum managed_cause)g->cause);
        g->moved = granule_stamp(e->now);
        if (!g->work && !g->ops && !granule_shown(r, g, false))
                lost_free(e, r, g);
}

static void range_lose(struct managed *e, struct managed_range *r, uint32_t node) {
        for (uint32_t i = 0; i < r->count; i++) {
                struct granule *g = granule_of(r, i);

                if (g->work && g->work->slot && g->work->node == node)
                        g->work->spoiled = true;
                if (granule_copy(r, g, node))
                        g->flags |= GRANULE_LOST;
                if (g->slot && g->node == node)
                        lose(e, r, g);
        }
}

void managed_node_lost(struct managed *e, uint32_t node, uint64_t now_ns) {
        struct node *n = &e->nodes[node];

        e->now = now_ns;
        e->shape[node].online = false;
        n->lost = n->draining = true;
        list_for_each (it, &e->ranges)
                range_lose(e, container_of(it, struct managed_range, link), node);
        defuse_all(e->steps);
        list_for_each (it, &e->sessions)
                defuse_all(container_of(it, struct managed_session, link)->steps);
        list_for_each_safe (it, &n->lines) /* they have to look for another place */
                line_dissolve(e, container_of(it, struct line, link));
        e->changes++;
        managed_run(e);
}

bool lost_concerns(const struct managed *e, const struct granule *g, const struct demand *d) {
        enum residency state = (enum residency)g->state;

        if (d->frees || (event_is_device(d->event) && e->nodes[d->node].lost))
                return true;
        if (!granule_lost(g))
                return false;
        switch ((int)state) {
        case RESIDENCY_DUPLICATED: return event_is_device(d->event);
        case RESIDENCY_REVOKED: return d->away || d->event == MANAGED_TO_NODE;
        case RESIDENCY_OUT: return d->event != MANAGED_REVOKE && d->event != MANAGED_UNDUPLICATE;
        }
        return false;
}

static bool serve_frees(struct managed *e, struct work *w, struct demand *d) {
        struct granule *g = w->g;

        if (!granule_lost(g))
                return serve_answer(d, 0);
        if (g->state == RESIDENCY_DUPLICATED)
                return list_empty(&w->mapping) && serve_change(e, w, d, CHANGE_DROP);
        if (!g->slot || (g->state != RESIDENCY_OUT && g->state != RESIDENCY_REVOKED))
                return serve_answer(d, 0);
        return serve_change(e, w, d, CHANGE_LOSE);
}

/* Where faults are SIGBUS it is poisoned, once for all that wait; else its threads stay blocked. */
static bool serve_fault(struct managed *e, struct work *w, struct demand *d) {
        if (w->range->poison)
                change_begin(e, w, d, CHANGE_LOSE);
        return serve_answer(d, 0);
}

static bool serve_discard(struct managed *e, struct work *w, struct demand *d) {
        if (w->g->flags & GRANULE_POISONED)
                d->event = MANAGED_UNREVOKE; /* and when it is EMPTY, the poison goes */
        return serve_change(e, w, d, CHANGE_DISCARD);
}

bool lost_serve(struct managed *e, struct work *w, struct demand *d) {
        if (d->frees)
                return serve_frees(e, w, d);
        if (event_is_device(d->event) && e->nodes[d->node].lost)
                return serve_answer(d, MANAGED_E_LOST);
        if (w->g->state == RESIDENCY_DUPLICATED)
                return list_empty(&w->mapping) && serve_change(e, w, d, CHANGE_DROP);
        if (event_is_fault(d->event))
                return serve_fault(e, w, d);
        if (d->event == MANAGED_DISCARD && !d->away)
                return serve_discard(e, w, d);
        return serve_answer(d, d->event == MANAGED_UNREVOKE ? 0 : MANAGED_E_LOST);
}
