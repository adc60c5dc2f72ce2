#include <errno.h>
#include <unistd.h>

#include "mover/clientmem.h"
#include "mover/internal.h"
#include "mover/userfault.h"
#include "proto/trace.h"

/*
 * What a userfaultfd has to say. One thread at a time reads it, so that what happens to a mapping is learnt in order;
 * what another one is told meanwhile is read by the first.
 *
 *     fault      to the engine. In what is no range of the session's, or not any more, the thread stays blocked: only
 *                where nothing is mapped is it safe to let go. With no memory to note it, the thread is woken, and
 *                faults again.
 *     unmap      the session has left a range that is gone as a whole; a hole in one is only found by steps
 *     remap      cannot be followed
 *     remove     read, so that the client goes on; its mapping comes back by faults
 *
 * What was registered there is fenced with any of the last three, see clientmem.h.
 */
enum { BATCH = 16, ROUNDS = 4 };

struct reading {
        struct mover *m;
        struct mover_session *s;
        struct clientmem *client; /* whose gate is closed, or NULL */
        uint64_t wake_start[BATCH], wake_end[BATCH];
        unsigned wakes;
        bool starved;
};

static void wake_later(struct reading *rd, uint64_t start, uint64_t end) {
        rd->wake_start[rd->wakes] = start;
        rd->wake_end[rd->wakes++] = end;
}

static void tell_fault(struct reading *rd, struct mover_range *r, uint32_t granule, const struct userfault_event *e) {
        struct trace_event what = { .type = TRACE_FAULT,
                                    .node = rd->s->index % TRACE_NODES,
                                    .first = granule,
                                    .flags = (e->write ? TRACE_WRITE : 0) | (e->minor ? TRACE_MINOR : 0) };

        traces_tell(rd->m, r, &what);
}

static void fault(struct reading *rd, const struct userfault_event *e) {
        struct share *share = share_at(rd->s, e->start);
        uint64_t page = e->start & ~(uint64_t)(PAGE - 1);
        uint32_t granule;
        int k;

        if (!share)
                return;
        granule = (uint32_t)((e->start - share->r->address) / share->r->granule);
        if (rd->m->traces_count)
                tell_fault(rd, share->r, granule, e);
        k = managed_fault(rd->m->engine, rd->s->session, share->r->range, granule, e->write, e->minor,
                          mover_now(rd->m));
        if (k == -ENOMEM) {
                rd->starved = true;
                wake_later(rd, share->r->huge ? e->start & ~(uint64_t)(HUGE_PAGE - 1) : page,
                           share->r->huge ? (e->start & ~(uint64_t)(HUGE_PAGE - 1)) + HUGE_PAGE : page + PAGE);
        }
}

/* Threads that waited there find that nothing is mapped. */
static void unmapped(struct reading *rd, const struct userfault_event *e) {
        struct share *share;
        uint64_t at = e->start;

        wake_later(rd, e->start, e->end);
        while (at < e->end && (share = share_overlapping(rd->s, at, e->end))) {
                struct mover_range *r = share->r;

                at = r->address + r->size;
                if (r->address < e->start || at > e->end)
                        continue;
                share_remove(share);
                managed_leave(rd->m->engine, rd->s->session, r->range, mover_now(rd->m));
        }
}

static void registered(struct reading *rd, const struct userfault_event *e) {
        static const char *const why[] = {
                [USERFAULT_REMOVE] = "the process gave it back with madvise",
                [USERFAULT_UNMAP] = "the process unmapped it, or mapped something else there",
                [USERFAULT_REMAP] = "the process moved it with mremap",
        };

        if (rd->client && e->type != USERFAULT_FAULT && e->type != USERFAULT_OTHER)
                clientmem_changed(rd->client, e->start, e->end, e->type != USERFAULT_REMOVE, why[e->type]);
}

static void handle(struct reading *rd, const struct userfault_event *e) {
        registered(rd, e);
        switch (e->type) {
        case USERFAULT_FAULT: fault(rd, e); break;
        case USERFAULT_UNMAP: unmapped(rd, e); break;
        case USERFAULT_REMAP:
                if (share_overlapping(rd->s, e->start, e->end))
                        session_lost(rd->s, "it moved a managed range with mremap, which svmd cannot follow", false);
                break;
        case USERFAULT_REMOVE:
        case USERFAULT_OTHER: break;
        }
}

static void wake(struct reading *rd) {
        if (rd->starved)
                usleep(1000);
        for (unsigned i = 0; i < rd->wakes; i++)
                (void)userfault_wake(rd->s->uffd, rd->wake_start[i], rd->wake_end[i] - rd->wake_start[i]);
        rd->wakes = 0;
        rd->starved = false;
}

static int read_batch(struct reading *rd) {
        struct clientmem *c = rd->client = rd->s->client; /* stays while this is at the session */
        struct userfault_event e[BATCH];
        bool closed;
        int n = -EBUSY;

        rd->s->more = false;
        mover_unlock(rd->m);
        closed = !c || clientmem_gate_close(c);
        if (closed)
                n = userfault_read(rd->s->uffd, e, BATCH);
        mover_lock(rd->m);
        for (int i = 0; i < n && !rd->s->ended; i++)
                handle(rd, &e[i]);
        if (c && closed)
                clientmem_gate_open(c);
        if (n == -EBUSY)
                session_lost(rd->s, "it holds up who reaches its registered memory", false);
        else if (n < 0)
                session_lost(rd->s, "its userfaultfd cannot be read", false);
        if (rd->wakes) {
                mover_unlock(rd->m);
                wake(rd);
                mover_lock(rd->m);
        }
        return n;
}

void session_read(struct mover *m, struct mover_session *s) {
        struct reading rd = { .m = m, .s = s };
        unsigned rounds = 0;
        int n;

        if (s->reading) {
                s->more = true;
                return;
        }
        s->refs++;
        s->reading = true;
        do
                n = read_batch(&rd);
        while (!s->ended && (n == BATCH || s->more) && ++rounds < ROUNDS);
        s->reading = false;
        joins_go_on(s);
        if (!s->ended && (n == BATCH || s->more)) {
                mover_unlock(m);
                session_rearm(s);
                mover_lock(m);
        }
        session_drop(s);
}
