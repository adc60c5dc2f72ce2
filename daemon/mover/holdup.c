#include "mover/internal.h"

/*
 * A revocation ends in bounded time, whatever the processes do that share the range. While a range is being taken, the
 * time is added up that workers stay in the address space of each session of it. A session that has used up held_ns is
 * told of, so that its process is ended.
 *
 * A machine that is merely busy must not end anybody. So time is counted in looks of the watchdog, which a busy machine
 * delays too, and a stay counts from the fifth look on that finds it.
 *
 * What counts is the process and not the range that a worker is in there for: a session has so many workers at a time,
 * and steps of the range that is taken may wait for them.
 */
#define HELD_NS 5000000000ull

enum { LONG_STAY = 5 /* looks */ };

static uint64_t held_ns(const struct mover *m) {
        return m->c.held_ns ? m->c.held_ns : HELD_NS;
}

void holdup_begin(struct mover_range *r) {
        struct mover *m = r->m;

        if (r->takes++)
                return;
        list_push_back(&m->taken, &r->taken);
        list_for_each (it, &r->shares)
                container_of(it, struct share, by_range)->held = 0;
        m->watch_due = true;
}

void holdup_end(struct mover_range *r) {
        if (--r->takes == 0)
                list_remove(&r->taken);
}

static void hold(struct mover_range *r, const struct mover_session *s, uint64_t ns) {
        list_for_each (it, &r->shares) {
                struct share *share = container_of(it, struct share, by_range);

                if (share->s != s)
                        continue;
                share->held += ns;
                if (share->held >= held_ns(r->m))
                        session_lost(share->s, "its process has held up a revocation for too long", true);
        }
}

void holdup_look(struct mover_session *s, unsigned looks) {
        struct mover *m = s->m;

        if (looks < LONG_STAY)
                return;
        list_for_each (it, &m->taken)
                hold(container_of(it, struct mover_range, taken), s,
                     stuck_ns(m) * (looks == LONG_STAY ? LONG_STAY : 1));
}
