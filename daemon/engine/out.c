#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Away from the memfd, and what does not touch it.
 *
 *     COPYING -> write-protect in every session's mm -> copy -> PUNCHING -> punch -> OUT
 *
 * each state recorded before the step that it names. The protection is never lifted before the punch; what the punch
 * removes takes its protection along. A copy that fails leaves RESIDENT, and the protection is lifted when a write
 * meets it (map.c). Read duplication is the same up to the copy, and then stays there, protected.
 */
static void free_host(struct managed *e, struct work *w) {
        struct granule *g = w->g;

        if (g->host_slot)
                node_give(e, g->host, w->range, g->host_slot);
        granule_host(w->range, g, 0);
        cgroup_set(e, g, 0);
}

/* The node is the truth; the host's bytes are free when that is recorded, not before. */
void out_punched(struct managed *e, struct work *w) {
        uint32_t host = w->g->host, host_slot = w->g->host_slot;

        granule_host(w->range, w->g, 0);
        cgroup_set(e, w->g, 0);
        w->g->flags &= (uint8_t)~GRANULE_PROTECTED;
        w->g->outs += w->g->outs < UINT16_MAX;
        granule_record(e, w, RESIDENCY_OUT);
        if (host_slot)
                node_give(e, host, w->range, host_slot);
        if (granule_lost(w->g))
                lost_free(e, w->range, w->g);
        change_end(e, w, w->failed);
}

static void abandon(struct managed *e, struct work *w, int result) {
        struct granule *g = w->g;
        uint32_t node = g->node, slot = g->slot;

        g->flags |= GRANULE_PROTECTED;
        g->slot = 0;
        if (g->state == RESIDENCY_COPYING)
                granule_record(e, w, RESIDENCY_RESIDENT);
        node_give(e, node, w->range, slot);
        change_end(e, w, result);
}

static void copied(struct managed *e, struct work *w, int result) {
        struct granule *g = w->g;

        if (result || granule_lost(g)) {
                abandon(e, w, result ? result : MANAGED_E_OFFLINE);
                return;
        }
        if (w->change == CHANGE_OUT) {
                w->phase = PHASE_PUNCH;
                granule_record(e, w, RESIDENCY_PUNCHING);
                work_step(w, MANAGED_PUNCH_HOLE);
                work_emit(e, w, NULL);
                return;
        }
        g->flags |= GRANULE_PROTECTED;
        granule_add_copy(e, w, g->node, g->slot);
        g->slot = 0;
        granule_record(e, w, RESIDENCY_DUPLICATED);
        change_end(e, w, 0);
}

static void protect(struct managed *e, struct work *w) {
        w->phase = PHASE_PROTECT;
        if (change_walk(e, w, MANAGED_WRITE_PROTECT))
                return;
        w->phase = PHASE_COPY;
        work_step(w, MANAGED_COPY_OUT);
        work_emit(e, w, NULL);
}

/* Nothing is in the target, or nothing that may be used. */
static void call_off(struct managed *e, struct work *w, int result) {
        change_call_off(e, w, result ? result : granule_lost(w->g) ? MANAGED_E_LOST : MANAGED_E_OFFLINE);
}

static void moved(struct managed *e, struct work *w, int result) {
        struct granule *g = w->g;
        uint32_t node = g->node, slot = g->slot;

        if (result || granule_lost(g) || w->spoiled) {
                call_off(e, w, result);
                return;
        }
        g->node = (uint8_t)w->node;
        g->slot = w->slot;
        w->slot = 0;
        g->moved = granule_stamp(e->now);
        granule_record(e, w, (enum residency)g->state);
        node_give(e, node, w->range, slot);
        change_end(e, w, 0);
}

static void poison(struct managed *e, struct work *w) {
        w->phase = PHASE_EVERYONE;
        if (w->range->poison) {
                w->g->flags |= GRANULE_POISONED;
                if (change_walk(e, w, MANAGED_POISON))
                        return;
        }
        change_end(e, w, 0);
}

static void wake_all(struct managed *e, struct work *w) {
        w->phase = PHASE_EVERYONE;
        if (!change_walk(e, w, MANAGED_WAKE))
                change_end(e, w, 0);
}

/* Empty is recorded first: an interrupted discard is ended by the punch after a restart. */
static void discard(struct managed *e, struct work *w) {
        bool present = w->g->state == RESIDENCY_RESIDENT, lost = granule_lost(w->g);
        uint32_t node = w->g->node, slot = w->g->slot;

        w->g->slot = 0;
        granule_record(e, w, RESIDENCY_EMPTY);
        if (slot)
                node_give(e, node, w->range, slot);
        if (lost) {
                wake_all(e, w); /* those that were left blocked */
                return;
        }
        if (!present) {
                change_end(e, w, 0);
                return;
        }
        w->phase = PHASE_PUNCH;
        work_step(w, MANAGED_PUNCH_HOLE);
        work_emit(e, w, NULL);
}

void out_next(struct managed *e, struct work *w, int result) {
        switch (w->phase) {
        case PHASE_PROTECT: protect(e, w); break;
        case PHASE_COPY:
                if (w->change == CHANGE_MOVE)
                        moved(e, w, result);
                else
                        copied(e, w, result);
                break;
        case PHASE_PUNCH:
                if (w->change == CHANGE_DISCARD) {
                        w->g->flags &= (uint8_t)~GRANULE_PROTECTED;
                        free_host(e, w);
                        change_end(e, w, 0);
                } else
                        out_punched(e, w);
                break;
        case PHASE_EVERYONE:
                if (w->change == CHANGE_TAKE || w->change == CHANGE_LOSE)
                        poison(e, w);
                else
                        wake_all(e, w);
                break;
        case PHASE_NONE:
        case PHASE_QUIET:
        case PHASE_FILL:
        case PHASE_ROOM:
        case PHASE_ALLOCATE:
        case PHASE_WRITE:
        case PHASE_CONTINUE:
        case PHASE_RETREAT:
        case PHASE_MERGE:
        case PHASE_SHOW: break;
        }
}

static void move(struct managed *e, struct work *w) {
        struct managed_step *s;

        if (granule_lost(w->g) || w->spoiled) {
                call_off(e, w, 0);
                return;
        }
        s = work_step(w, MANAGED_COPY_NODE);
        s->from = w->g->node;
        s->from_slot = w->g->slot - 1;
        s->node = w->node;
        s->slot = w->slot - 1;
        w->phase = PHASE_COPY;
        work_emit(e, w, NULL);
}

static void copy_out(struct managed *e, struct work *w) {
        bool duplicated = w->g->state == RESIDENCY_DUPLICATED;

        if (w->spoiled) {
                call_off(e, w, 0);
                return;
        }
        w->g->node = (uint8_t)w->node;
        w->g->slot = w->slot;
        w->slot = 0;
        if (duplicated) { /* protected everywhere already */
                w->phase = PHASE_COPY;
                work_step(w, MANAGED_COPY_OUT);
                work_emit(e, w, NULL);
                return;
        }
        granule_record(e, w, RESIDENCY_COPYING);
        protect(e, w);
}

/* The granule is quiet. */
void change_quietened(struct managed *e, struct work *w) {
        switch (w->change) {
        case CHANGE_OUT:
        case CHANGE_DUPLICATE: copy_out(e, w); break;
        case CHANGE_MOVE: move(e, w); break;
        case CHANGE_DISCARD: discard(e, w); break;
        case CHANGE_DROP:
                granule_record(e, w, RESIDENCY_RESIDENT);
                granule_drop_copies(e, w->range, w->g);
                change_end(e, w, 0);
                break;
        case CHANGE_TAKE:
                granule_record(e, w, RESIDENCY_REVOKED);
                poison(e, w);
                break;
        case CHANGE_LOSE:
                lost_free(e, w->range, w->g);
                poison(e, w);
                break;
        case CHANGE_RETURN:
                granule_record(e, w, w->g->slot || granule_lost(w->g) ? RESIDENCY_OUT : RESIDENCY_EMPTY);
                wake_all(e, w);
                break;
        case CHANGE_IN:
        case CHANGE_CLEAR: in_start(e, w); break;
        case CHANGE_PLACE:
        case CHANGE_SHOW: device_next(e, w, 0); break;
        case CHANGE_HIDE: change_end(e, w, 0); break;
        case CHANGE_NONE: break;
        }
}
