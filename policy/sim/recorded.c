#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/sim/sim.h"

/* What svmd did by the recording: moves as it recorded them, faults as it heard of them. Nobody measured stalls. */
struct range {
        uint64_t used[SIM_NODES];
};

struct recorded {
        struct sim_tally *tally;
        struct range *ranges; /* by their numbers */
        size_t room;
};

static void lies(struct recorded *r, const struct trace_event *e, uint64_t bytes) {
        r->ranges[e->range].used[e->node] += bytes;
        r->tally->used[e->node] += bytes;
        if (r->tally->peak[e->node] < r->tally->used[e->node])
                r->tally->peak[e->node] = r->tally->used[e->node];
}

static void moved(struct recorded *r, const struct trace_event *e, uint64_t bytes) {
        uint32_t from = e->from == TRACE_NOWHERE || e->from == e->node ? SIM_NOWHERE : e->from;
        uint32_t to = e->node == TRACE_NOWHERE ? SIM_NOWHERE : e->node;
        uint64_t *used = r->ranges[e->range].used;

        if (from != SIM_NOWHERE)
                used[from] -= bytes < used[from] ? bytes : used[from];
        if (to != SIM_NOWHERE)
                used[to] += bytes;
        tally_move(r->tally, from, to, bytes, e->flags, e->count);
}

static void ends(struct recorded *r, const struct trace_event *e) {
        for (unsigned i = 0; i < SIM_NODES; i++) {
                uint64_t used = r->ranges[e->range].used[i];

                r->tally->used[i] -= used < r->tally->used[i] ? used : r->tally->used[i];
        }
}

static void take(struct recorded *r, const struct trace_reader *reader, const struct trace_event *e) {
        uint64_t bytes = reader->ranges_count > e->range ? (uint64_t)e->count * reader->ranges[e->range].granule : 0;
        struct sim_tally *t = r->tally;

        tally_time(t, e->time);
        t->events++;
        while (reader->ranges_count > r->room)
                r->ranges = sim_grow(r->ranges, &r->room, sizeof(*r->ranges));
        switch (e->type) {
        case TRACE_FAULT:
                t->touches++;
                t->faults++;
                break;
        case TRACE_USE:
                t->touches++;
                t->device_faults += (e->flags & TRACE_MISSED) != 0;
                break;
        case TRACE_LIES: lies(r, e, bytes); break;
        case TRACE_MOVED: moved(r, e, bytes); break;
        case TRACE_RANGE_END: ends(r, e); break;
        case TRACE_DROPPED: t->dropped += e->value; break;
        default: break;
        }
}

int sim_recorded(struct sim_tally *ret, const void *bytes, size_t size, char *why, size_t why_size) {
        struct recorded r = { .tally = ret };
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, size);

        *ret = (struct sim_tally){ 0 };
        while (!k && (k = trace_next(&t, &e)) == 1) {
                k = 0;
                take(&r, &t, &e);
        }
        ret->cut = !t.ended;
        if (k)
                snprintf(why, why_size, "%s", k == -ENOMEM ? "out of memory" : t.why);
        trace_close(&t);
        free(r.ranges);
        return k;
}
