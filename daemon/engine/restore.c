#include <errno.h>

#include "engine/managed-priv.h"

/*
 * After a restart. What was recorded last says what may be believed:
 *
 *     COPYING, DUPLICATED    the memfd; the slots are dropped, protection is lifted when a write meets it
 *     PUNCHING               the slot; punched again, OUT
 *     FILLING                the memfd's page where there is one, else the slot; filled again
 *     WRITING                the slot; written again
 *     CONTINUING             the memfd
 *     EMPTY                  nothing; punched, for an interrupted discard
 *
 * First everything is settled, then whole ranges are woken: faults that the dead daemon had read come again. Until
 * then nothing new is served.
 */
static bool claim(struct managed *e, struct managed_range *r, const struct managed_record *last, bool slot, bool host) {
        struct granule *g = granule_of(r, last->granule);

        if (slot && last->node < e->nodes_count) {
                g->node = (uint8_t)last->node;
                if (last->slot == MANAGED_NOWHERE)
                        g->flags |= GRANULE_LOST;
        }
        if (slot && last->node < e->nodes_count && !granule_lost(g)) {
                g->slot = node_claim(e, last->node, r, last->granule, last->slot + 1);
                if (!g->slot)
                        return false;
        }
        if (host && last->host < e->nodes_count) {
                g->host = (uint8_t)last->host;
                granule_host(r, g, node_claim(e, last->host, r, last->granule, 0));
                if (!g->host_slot)
                        return false;
        }
        return true;
}

static bool believe(struct managed *e, struct managed_range *r, const struct managed_record *last) {
        switch (last->state) {
        case RESIDENCY_EMPTY: return true;
        case RESIDENCY_RESIDENT:
        case RESIDENCY_COPYING:
        case RESIDENCY_CONTINUING:
        case RESIDENCY_DUPLICATED:
                granule_of(r, last->granule)->flags |= GRANULE_PROTECTED;
                return claim(e, r, last, false, true);
        case RESIDENCY_OUT:
        case RESIDENCY_REVOKED: return claim(e, r, last, true, false);
        case RESIDENCY_PUNCHING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING:
                granule_of(r, last->granule)->flags |= GRANULE_PROTECTED;
                return claim(e, r, last, true, true);
        }
        return false;
}

int managed_restore(struct managed *e, struct managed_range *r, const struct managed_record *last) {
        struct granule *g;
        uint16_t cgroup;

        if (last->granule >= r->count || r->granules[last->granule].state != RESIDENCY_EMPTY)
                return -EINVAL;
        e->restore = RESTORE_BEGINNING;
        r->settled = false;
        if (cgroup_get(e, last->cgroup, &cgroup))
                return -ENOMEM;
        if (!believe(e, r, last)) {
                cgroup_put(e, cgroup);
                return -ENOMEM;
        }
        g = granule_of(r, last->granule);
        g->state = (uint8_t)last->state;
        g->cause = (uint8_t)last->cause;
        cgroup_set(e, g, cgroup);
        cgroup_put(e, cgroup);
        r->guarded += managed_action(last->state, MANAGED_JOIN) == MANAGED_PROTECT;
        if (r->poison)
                g->flags |= GRANULE_POISONED;
        return 0;
}

static bool needs_work(const struct granule *g) {
        enum managed_action a = managed_action((enum residency)g->state, MANAGED_RESTART);

        return a != MANAGED_NOTHING && g->state != RESIDENCY_EMPTY;
}

static void settle(struct managed *e, struct work *w) {
        w->cause = MANAGED_BY_RESTART;
        w->settling = true;
        e->settling++;
        switch (managed_action((enum residency)w->g->state, MANAGED_RESTART)) {
        case MANAGED_ABANDON:
        case MANAGED_FINISH:
                granule_record(e, w, RESIDENCY_RESIDENT);
                change_end(e, w, 0);
                break;
        case MANAGED_PUNCH_AGAIN:
                w->change = CHANGE_OUT;
                w->phase = PHASE_PUNCH;
                work_step(w, MANAGED_PUNCH_HOLE);
                work_emit(e, w, NULL);
                break;
        case MANAGED_FILL_AGAIN:
                w->change = CHANGE_IN;
                in_fill(e, w);
                break;
        case MANAGED_WRITE_AGAIN:
                w->change = CHANGE_IN;
                in_write(e, w);
                break;
        case MANAGED_NOTHING:
        case MANAGED_WAIT:
        case MANAGED_FILL:
        case MANAGED_MAP:
        case MANAGED_MAP_READ:
        case MANAGED_COPY:
        case MANAGED_MOVE:
        case MANAGED_PUNCH:
        case MANAGED_FORGET:
        case MANAGED_DROP:
        case MANAGED_TAKE:
        case MANAGED_BLOCK:
        case MANAGED_RETURN:
        case MANAGED_CLEAR:
        case MANAGED_PLACE:
        case MANAGED_ASK:
        case MANAGED_REFUSE:
        case MANAGED_PROTECT:
        case MANAGED_GO_ON:
        case _MANAGED_ACTION_N: break;
        }
}

/* Punches the next run of EMPTY granules. */
static void punch_next(struct managed *e, struct managed_range *r) {
        struct managed_step *s;

        while (r->cursor < r->count && granule_of(r, r->cursor)->state != RESIDENCY_EMPTY)
                r->cursor++;
        if (r->cursor == r->count) {
                r->punched = true;
                restore_settled(e);
                return;
        }
        s = step_new(&r->step, r, r->cursor, MANAGED_PUNCH_HOLE);
        while (r->cursor < r->count && granule_of(r, r->cursor)->state == RESIDENCY_EMPTY)
                r->cursor++;
        s->count = r->cursor - s->granule;
        step_emit(e, &r->step, NULL);
}

void range_step_done(struct managed *e, struct managed_range *r, int result) {
        if (r->ending)
                range_ended(e, r);
        else
                punch_next(e, r);
}

static void wake(struct managed *e, struct managed_range *r) {
        list_for_each (it, &r->shares) {
                struct share *s = container_of(it, struct share, by_range);

                if (s->joining || s->left || s->gone)
                        continue;
                step_new(&s->step, r, 0, MANAGED_WAKE)->count = r->count;
                e->waking++;
                step_emit(e, &s->step, s);
        }
}

/* Ranges that came since have nothing to settle, and those that end are not waited for. */
static bool all_punched(const struct managed *e) {
        list_for_each (it, &e->ranges) {
                const struct managed_range *r = container_of(it, struct managed_range, link);

                if (!r->punched && !r->settled && !r->ending)
                        return false;
        }
        return true;
}

/* Goes on to the wakes, and from them to serving. */
void restore_settled(struct managed *e) {
        if (e->restore == RESTORE_SETTLING && !e->settling && all_punched(e)) {
                e->restore = RESTORE_WAKING;
                list_for_each (it, &e->ranges)
                        wake(e, container_of(it, struct managed_range, link));
        }
        if (e->restore != RESTORE_WAKING || e->waking)
                return;
        e->restore = RESTORE_NONE;
        list_for_each (it, &e->ranges) {
                struct managed_range *r = container_of(it, struct managed_range, link);

                r->settled = true;
                list_for_each (w, &r->works)
                        work_todo(e, container_of(w, struct work, by_range));
        }
}

/* Allocates what settling takes. */
static int prepare(struct managed *e) {
        list_for_each (it, &e->ranges) {
                struct managed_range *r = container_of(it, struct managed_range, link);

                for (uint32_t i = 0; i < r->count; i++)
                        if (needs_work(granule_of(r, i)) && !work_get(e, r, i))
                                return -ENOMEM;
        }
        return 0;
}

int managed_restored(struct managed *e, uint64_t now_ns) {
        int k = prepare(e);

        if (k)
                return k;
        e->now = now_ns;
        e->restore = RESTORE_BEGINNING;
        for (uint32_t i = 0; i < e->nodes_count; i++)
                node_rebuild(e, i);
        list_for_each (it, &e->groups)
                group_restored(e, container_of(it, struct managed_group, link));
        list_for_each (it, &e->ranges) {
                struct managed_range *r = container_of(it, struct managed_range, link);

                r->settled = false;
                list_for_each (it_work, &r->works) {
                        struct work *w = container_of(it_work, struct work, by_range);

                        if (needs_work(w->g))
                                settle(e, w);
                }
                r->cursor = 0;
                punch_next(e, r);
        }
        e->restore = RESTORE_SETTLING;
        restore_settled(e);
        managed_run(e);
        return 0;
}

bool managed_settled(const struct managed *e) {
        return e->restore == RESTORE_NONE;
}
