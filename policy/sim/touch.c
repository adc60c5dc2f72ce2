#include <string.h>

#include "policy/sim/world.h"

/*
 * Actors: a process, whose touches come one after the other, and a device likewise. Each acts as long after its last
 * touch as it did in the recording, or as soon as that was served if that is later.
 *
 *     waiting --its time--> begins: allowed? --yes----------------------------> done, next
 *                             |                                                  ^
 *                             +--no--> heard (fault_ns later) --> engine --woken, answered--+ (allowed? else again)
 */
static void next(struct world *w, struct actor *a) {
        uint64_t at;

        if (a->busy || a->waiting_first == a->waiting_count)
                return;
        a->at = a->waiting[a->waiting_first++];
        a->busy = true;
        at = a->at.time + a->lag;
        if (at < a->free_ns || w->options->no_think)
                at = a->free_ns;
        happens_at(w, at > w->now ? at : w->now, ACTOR_BEGINS, a);
}

void actor_push(struct world *w, struct actor *a, const struct trace_event *e) {
        if (a->waiting_first == a->waiting_count)
                a->waiting_first = a->waiting_count = 0;
        if (a->waiting_count == a->waiting_room)
                a->waiting = sim_grow(a->waiting, &a->waiting_room, sizeof(*a->waiting));
        a->waiting[a->waiting_count++] = (struct touch){ e->time, e->range, e->first, (e->flags & TRACE_WRITE) != 0 };
        w->busy++;
        next(w, a);
}

static void done(struct world *w, struct actor *a) {
        uint64_t stalled = w->now - a->issued_ns;

        w->tally->stalled_ns += stalled;
        w->tally->stall_max_ns = stalled > w->tally->stall_max_ns ? stalled : w->tally->stall_max_ns;
        w->tally->refused += a->result != 0;
        a->lag = a->issued_ns > a->at.time ? a->issued_ns - a->at.time : 0;
        a->free_ns = w->now;
        a->busy = a->begun = a->asked = a->joining = false;
        a->result = 0;
        w->busy--;
        next(w, a);
}

struct share *share_of(struct actor *a, uint32_t range) {
        const struct range *r = a->world->ranges[range];

        while (range >= a->shares_room)
                a->shares = sim_grow(a->shares, &a->shares_room, sizeof(*a->shares));
        if (!a->shares[range].pte)
                a->shares[range].pte = sim_alloc(r->count, 1);
        return &a->shares[range];
}

static struct share *join(struct world *w, struct actor *a, struct range *r) {
        bool known = r->number < a->shares_room && a->shares[r->number].pte;
        struct share *s = share_of(a, r->number);

        if (!known && managed_join(w->engine, a->session, r->range, false, w->now) == 0)
                s = share_of(a, r->number);
        return s;
}

static bool allowed(const struct share *s, const struct touch *t) {
        uint8_t pte = s->pte[t->first];

        return pte & PTE_MAPPED && !(t->write && pte & PTE_PROTECTED);
}

static void process_touches(struct world *w, struct actor *a, struct range *r) {
        struct share *s = join(w, a, r);

        a->joining = !s->joined;
        if (a->joining)
                return; /* woken when it has */
        if (allowed(s, &a->at)) {
                done(w, a);
                return;
        }
        a->asked = false;
        w->tally->faults++;
        happens_at(w, w->now + w->options->fault_ns, ACTOR_IS_HEARD, a);
}

static void device_touches(struct world *w, struct actor *a, struct range *r) {
        bool write = a->at.write;

        if (managed_device_begin(w->engine, r->range, a->at.first, a->device, write)) {
                managed_device_end(w->engine, r->range, a->at.first, w->now);
                done(w, a);
                return;
        }
        w->tally->device_faults++;
        happens_at(w, w->now + w->options->fault_ns, ACTOR_IS_HEARD, a);
}

void actor_begins(struct world *w, struct actor *a) {
        struct range *r = w->ranges[a->at.range];

        if (!a->begun) {
                a->begun = true;
                a->issued_ns = w->now;
                w->tally->touches++;
        }
        if (!r->range)
                done(w, a);
        else if (a->device == SIM_NOWHERE)
                process_touches(w, a, r);
        else
                device_touches(w, a, r);
}

void actor_heard(struct world *w, struct actor *a) {
        struct range *r = w->ranges[a->at.range];
        bool write = a->at.write;
        int k = -1;

        a->asked = true;
        if (r->range && a->device == SIM_NOWHERE)
                k = managed_fault(w->engine, a->session, r->range, a->at.first, write,
                                  r->host[a->at.first] && !share_of(a, r->number)->pte[a->at.first], w->now);
        else if (r->range)
                k = managed_device_access(w->engine, r->range, a->at.first, a->device, write, (uintptr_t)a, w->now);
        if (k) {
                a->result = k;
                done(w, a);
        }
}

/* ---- being woken ---- */

void actor_ready(struct actor *a) {
        struct world *w = a->world;

        if (a->queued)
                return;
        if (w->ready_count == w->ready_room)
                w->ready = sim_grow(w->ready, &w->ready_room, sizeof(*w->ready));
        w->ready[w->ready_count++] = a;
        a->queued = true;
}

void actors_wake(struct world *w, const struct range *r, uint32_t first, uint32_t count) {
        for (size_t i = 0; i < w->sessions_room; i++) {
                struct actor *a = w->sessions[i];

                if (a && a->busy && a->asked && a->at.range == r->number && a->at.first >= first &&
                    a->at.first - first < count)
                        actor_ready(a);
        }
}

static void answered(struct world *w, struct actor *a) {
        struct range *r = w->ranges[a->at.range];

        if (!a->result && r->range)
                managed_device_end(w->engine, r->range, a->at.first, w->now);
        done(w, a);
}

void actors_run(struct world *w) {
        for (size_t i = 0; i < w->ready_count; i++) {
                struct actor *a = w->ready[i];

                a->queued = false;
                if (!a->busy)
                        continue;
                if (a->device != SIM_NOWHERE)
                        answered(w, a);
                else
                        process_touches(w, a, w->ranges[a->at.range]);
        }
        w->ready_count = 0;
}

static struct actor *actor_new(struct world *w, uint32_t device) {
        struct actor *a = sim_alloc(1, sizeof(*a));

        a->world = w;
        a->device = device;
        return a;
}

struct actor *actor_of_session(struct world *w, uint32_t session) {
        struct actor *a;

        while (session >= w->sessions_room)
                w->sessions = sim_grow(w->sessions, &w->sessions_room, sizeof(struct actor *));
        a = w->sessions[session];
        if (a)
                return a;
        a = w->sessions[session] = actor_new(w, SIM_NOWHERE);
        return managed_session_new(w->engine, &a->session, a, 0) ? NULL : a;
}

struct actor *actor_of_device(struct world *w, uint32_t node) {
        if (!w->devices[node])
                w->devices[node] = actor_new(w, node);
        return w->devices[node];
}
