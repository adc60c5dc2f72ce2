#include <errno.h>

#include "engine/managed-priv.h"

/*
 * To the memfd.
 *
 *     FILLING -> UFFDIO_COPY into the payer -> RESIDENT -> WAKE
 *     WRITING -> pwrite -> CONTINUING -> CONTINUE -> RESIDENT            without a payer
 *
 * The payer is the session that faulted, or one of the owner's cgroup, and may write a page as soon as it has it: in
 * FILLING a page that the memfd has is the truth, and only what is missing comes from the slot. So a fill whose payers
 * are all gone, or whose cgroup has nothing left to evict, cannot be written over: it is taken back. What the memfd has
 * is protected, merged into the slot, and punched (PUNCHING, OUT); then the granule comes in without a payer. A fill
 * with zeroes needs no slot to go back to: its holes are zeroes already, and are allocated.
 */
enum { TRIES = 64 };

static bool can_pay(const struct share *s) {
        return s && !s->gone && !s->left && !s->readonly && !s->joining;
}

static struct share *find_payer(struct work *w) {
        list_for_each (it, &w->queue) {
                struct demand *d = container_of(it, struct demand, link);

                if (event_is_fault(d->event) && can_pay(d->share))
                        return d->share;
        }
        list_for_each (it, &w->range->shares) {
                struct share *s = container_of(it, struct share, by_range);

                if (can_pay(s) && s->session->cgroup == w->range->cgroup)
                        return s;
        }
        return NULL;
}

static void allocate(struct managed *e, struct work *w) {
        w->phase = w->phase == PHASE_WRITE ? PHASE_WRITE : PHASE_ALLOCATE;
        work_step(w, MANAGED_ALLOCATE);
        work_emit(e, w, NULL);
}

static bool is_waited_for(struct work *w) {
        list_for_each (it, &w->queue) {
                const struct demand *d = container_of(it, struct demand, link);

                if (event_is_fault(d->event) || d->event == MANAGED_PIN || d->event == MANAGED_UNREVOKE)
                        return true;
        }
        return false;
}

/* What nobody waits for stays out then, and is paid for another time. */
static void retreat(struct managed *e, struct work *w) {
        w->keep = false;
        if (is_waited_for(w))
                w->g->flags |= GRANULE_NO_PAYER;
        if (!w->g->slot) {
                allocate(e, w);
                return;
        }
        w->phase = PHASE_RETREAT;
        if (change_walk(e, w, MANAGED_WRITE_PROTECT))
                return;
        w->phase = PHASE_MERGE;
        work_step(w, MANAGED_MERGE);
        work_emit(e, w, NULL);
}

void in_fill(struct managed *e, struct work *w) {
        struct managed_step *s;

        w->payer = find_payer(w);
        if (!w->payer) {
                w->cursor = 0;
                retreat(e, w);
                return;
        }
        w->phase = PHASE_FILL;
        list_for_each (it, &w->queue)
                container_of(it, struct demand, link)->again = false;
        s = work_step(w, w->g->slot ? MANAGED_COPY_IN : MANAGED_ZERO);
        s->protect = w->keep;
        s->insist = w->insists;
        s->idle = !is_waited_for(w);
        s->wake = true;
        cgroup_set(e, w->g, w->payer->session->cgroup_index);
        work_emit(e, w, w->payer);
}

/* The payer has all of it mapped, and has been woken: its faults are served, but those that may have come after that
 * from what it has unmapped since. */
static void served(struct work *w, int result) {
        list_for_each_safe (it, &w->queue) {
                struct demand *d = container_of(it, struct demand, link);

                if (!event_is_fault(d->event))
                        continue;
                d->met &= d->again; /* what it met has been punched since */
                if (!result && d->share == w->payer && !d->again && (!d->write || !w->keep))
                        demand_done(d, 0);
        }
}

/* The slot goes, or stays as a copy. */
static void filled(struct managed *e, struct work *w, int result) {
        struct granule *g = w->g;
        uint32_t node = g->node, slot = g->slot;
        bool keep = w->keep && result == 0;

        if (w->keep)
                g->flags |= GRANULE_PROTECTED;
        served(w, result);
        g->slot = 0;
        g->flags &= (uint8_t)~GRANULE_NO_PAYER;
        g->ins += slot && g->ins < UINT16_MAX;
        if (keep)
                granule_add_copy(e, w, node, slot);
        granule_record(e, w, keep ? RESIDENCY_DUPLICATED : RESIDENCY_RESIDENT);
        if (slot && !keep)
                node_give(e, node, w->range, slot);
        change_end(e, w, 0);
}

/* The payer's cgroup is full: make room there and try again. When it has none to make, it pays all the same, and the
 * kernel holds its limit as it does for memory that its processes take themselves. */
static void full(struct managed *e, struct work *w) {
        if (is_waited_for(w) && w->tries++ < TRIES && evict_for(e, w, w->g->cgroup)) {
                w->phase = PHASE_ROOM;
                return;
        }
        if (is_waited_for(w) && !w->insists) {
                w->insists = true;
                in_fill(e, w);
                return;
        }
        w->failed = -ENOMEM;
        w->cursor = 0;
        retreat(e, w);
}

static void written(struct managed *e, struct work *w) {
        struct granule *g = w->g;
        uint32_t node = g->node, slot = g->slot;

        g->slot = 0;
        cgroup_set(e, g, 0);
        g->flags &= (uint8_t)~GRANULE_NO_PAYER;
        g->ins += slot && g->ins < UINT16_MAX;
        granule_record(e, w, RESIDENCY_CONTINUING);
        if (slot)
                node_give(e, node, w->range, slot);
        w->phase = PHASE_CONTINUE;
        list_for_each_safe (it, &w->queue) {
                struct demand *d = container_of(it, struct demand, link);

                d->met = false;
                if (event_is_fault(d->event) && !d->share->gone)
                        map_begin(e, w, d, false);
        }
        if (list_empty(&w->mapping))
                in_mapped(e, w);
}

void in_mapped(struct managed *e, struct work *w) {
        granule_record(e, w, RESIDENCY_RESIDENT);
        change_end(e, w, 0);
}

static void merged(struct managed *e, struct work *w) {
        granule_record(e, w, RESIDENCY_PUNCHING);
        w->phase = PHASE_PUNCH;
        work_step(w, MANAGED_PUNCH_HOLE);
        work_emit(e, w, NULL);
}

static void clear(struct managed *e, struct work *w) {
        w->phase = PHASE_EVERYONE;
        if (change_walk(e, w, MANAGED_CONTINUE))
                return;
        w->g->flags &= (uint8_t)~GRANULE_POISONED;
        change_end(e, w, 0);
}

void in_write(struct managed *e, struct work *w) {
        granule_record(e, w, RESIDENCY_WRITING);
        w->keep = false;
        w->phase = PHASE_WRITE;
        if (!w->g->slot) {
                allocate(e, w);
                return;
        }
        work_step(w, MANAGED_WRITE_BACK);
        work_emit(e, w, NULL);
}

/* The machine has no memory, or no huge page, for what nobody pays for: something else leaves first. When nothing can,
 * it is tried again, and when nobody waits it stays out. */
static void starved(struct managed *e, struct work *w) {
        if (w->g->slot && !is_waited_for(w)) {
                w->failed = -ENOMEM;
                merged(e, w);
        } else if (evict_for(e, w, CGROUP_ANY))
                w->phase = PHASE_ROOM;
        else
                in_room(e, w);
}

/* There may be room now. */
void in_room(struct managed *e, struct work *w) {
        if (granule_lost(w->g))
                merged(e, w);
        else if (w->g->state == RESIDENCY_WRITING)
                in_write(e, w);
        else
                in_fill(e, w);
}

/* The granule is quiet. */
void in_start(struct managed *e, struct work *w) {
        struct granule *g = w->g;

        if (w->change == CHANGE_CLEAR) {
                clear(e, w);
                return;
        }
        if (granule_lost(g)) {
                change_call_off(e, w, 0);
                return;
        }
        g->host = (uint8_t)w->node;
        granule_host(w->range, g, w->slot);
        w->slot = 0;
        if (g->flags & GRANULE_NO_PAYER || !find_payer(w)) {
                in_write(e, w);
                return;
        }
        granule_record(e, w, RESIDENCY_FILLING);
        in_fill(e, w);
}

/* What was to come in is lost: whatever the step did, none of it may stay in the memfd. */
void in_next(struct managed *e, struct work *w, int result) {
        if (granule_lost(w->g) && w->phase != PHASE_PUNCH) {
                w->keep = false;
                w->failed = 0;
                merged(e, w);
                return;
        }
        switch (w->phase) {
        case PHASE_FILL:
                if (result == -ENOMEM)
                        full(e, w);
                else if (result == -ESRCH)
                        in_fill(e, w);
                else
                        filled(e, w, result);
                break;
        case PHASE_ALLOCATE:
                if (result == -ENOMEM)
                        starved(e, w);
                else
                        filled(e, w, -EEXIST);
                break;
        case PHASE_WRITE:
                if (result == -ENOMEM)
                        starved(e, w);
                else
                        written(e, w);
                break;
        case PHASE_RETREAT: retreat(e, w); break;
        case PHASE_MERGE: merged(e, w); break;
        case PHASE_PUNCH: out_punched(e, w); break;
        case PHASE_EVERYONE: clear(e, w); break;
        case PHASE_NONE:
        case PHASE_QUIET:
        case PHASE_PROTECT:
        case PHASE_COPY:
        case PHASE_ROOM:
        case PHASE_CONTINUE:
        case PHASE_SHOW: break;
        }
}
