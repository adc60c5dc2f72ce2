#include <errno.h>

#include "engine/managed-priv.h"

/*
 * Serving faults of what is resident. Several sessions are mapped at a time; a change waits until all have been. The
 * kind of the fault decides nothing here: pages are continued, a hole gets zeroes, a protection that may be left from
 * an earlier change, or that the fault may have met, is lifted, and the threads are woken. A fault that comes while its
 * session's step is out may have been too late for that step's wake: it is served once more.
 */
static struct managed_step *map_step(struct demand *d, enum managed_step_type type) {
        struct work *w = d->work;

        return step_new(&d->step, w->range, granule_index(w), type);
}

static bool may_be_protected(const struct demand *d) {
        return (d->work->g->flags & GRANULE_PROTECTED || d->met) && !d->share->readonly;
}

static void map_continue(struct managed *e, struct demand *d) {
        struct managed_step *s = map_step(d, MANAGED_CONTINUE);

        d->map = MAP_CONTINUE;
        s->protect = d->protect;
        s->wake = d->protect || !may_be_protected(d);
        step_emit(e, &d->step, d->share);
}

void map_begin(struct managed *e, struct work *w, struct demand *d, bool protect) {
        list_remove(&d->link);
        list_push_back(&w->mapping, &d->link);
        d->protect = protect;
        d->again = false;
        w->g->touched = granule_stamp(e->now);
        reuse_use(e, w->range, w->g);
        map_continue(e, d);
}

/* The client has punched its own memfd. */
static void map_hole(struct managed *e, struct demand *d, bool pays) {
        struct managed_step *s = map_step(d, pays ? MANAGED_ZERO : MANAGED_ALLOCATE);

        d->map = MAP_HOLE;
        s->protect = d->protect;
        s->insist = true;
        step_emit(e, &d->step, pays ? d->share : NULL);
}

static void map_unprotect(struct managed *e, struct demand *d) {
        d->map = MAP_UNPROTECT;
        map_step(d, MANAGED_UNPROTECT)->wake = true;
        step_emit(e, &d->step, d->share);
}

static void map_done(struct managed *e, struct demand *d) {
        struct work *w = d->work;
        bool lost = d->share->left;

        if (d->again && !lost) {
                list_remove(&d->link);
                list_push_front(&w->queue, &d->link);
                d->event = d->write ? MANAGED_FAULT_WRITE : MANAGED_FAULT_READ;
        } else
                demand_done(d, 0);
        if (w->phase == PHASE_CONTINUE && list_empty(&w->mapping))
                in_mapped(e, w);
        work_todo(e, w);
}

void map_step_done(struct managed *e, struct demand *d, int result) {
        if (d->share->left || result == -ESRCH) {
                map_done(e, d);
                return;
        }
        switch (d->map) {
        case MAP_CONTINUE:
                if (result == -EFAULT)
                        map_hole(e, d, !d->share->readonly);
                else if (!d->protect && may_be_protected(d))
                        map_unprotect(e, d);
                else
                        map_done(e, d);
                break;
        case MAP_HOLE:
                if (result == -ENOMEM)
                        map_hole(e, d, false);
                else
                        map_continue(e, d);
                break;
        case MAP_UNPROTECT: map_done(e, d); break;
        }
}
