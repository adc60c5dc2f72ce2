#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "policy/sim/world.h"

/*
 * A recording is played in its order: touches go to their actors, which come to them in their own time; all else (a
 * request, advice, a range that comes or goes) waits until what was touched before it has been served, since the
 * program that asked for it had got that far.
 *
 * First the ranges that were there when it began are made, with each granule where it lay, as after a restart.
 */
enum { LARGEST = 2 << 20, SESSION_STEPS = 2 };
static const uint64_t warm_bytes = 64ull << 20;

/* ---- what the engine tells ---- */

static uint32_t place_of(const struct managed_record *r) {
        switch (r->state) {
        case RESIDENCY_EMPTY: return SIM_NOWHERE;
        case RESIDENCY_OUT:
        case RESIDENCY_PUNCHING:
        case RESIDENCY_REVOKED: return r->node == MANAGED_NOWHERE ? SIM_NOWHERE : r->node;
        default: return r->host == MANAGED_NOWHERE ? SIM_NOWHERE : r->host;
        }
}

static bool rests(enum residency state) {
        return state == RESIDENCY_EMPTY || state == RESIDENCY_RESIDENT || state == RESIDENCY_OUT ||
               state == RESIDENCY_DUPLICATED || state == RESIDENCY_REVOKED;
}

static void on_intent(void *userdata, const struct managed_record *rec) {
        struct world *w = userdata;
        struct range *r = rec->range;
        uint32_t from = r->where[rec->granule] ? r->where[rec->granule] - 1u : SIM_NOWHERE, to = place_of(rec);

        if (!rests(rec->state) || from == to)
                return;
        r->where[rec->granule] = (uint8_t)(to == SIM_NOWHERE ? 0 : to + 1);
        tally_move(w->tally, from, to, r->granule, rec->cause, 1);
}

static void on_done(void *userdata, uint64_t token, int result) {
        struct actor *a = (struct actor *)(uintptr_t)token;

        if (!a)
                return;
        a->result = result;
        actor_ready(a);
}

static void on_joined(void *userdata, void *session, void *range) {
        struct actor *a = session;

        share_of(a, ((struct range *)range)->number)->joined = true;
        if (a->joining)
                actor_ready(a);
}

static void on_advice(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        const struct range *r = range;

        if (r->advice)
                *ret = r->advice[granule];
}

/* ---- making the world ---- */

static int nodes_make(struct world *w) {
        for (uint32_t i = 0; i < w->machine->count; i++) {
                const struct sim_node *n = &w->machine->nodes[i];
                int k = managed_node_add(w->engine, n->host, n->faults, n->capacity, n->hive, n->bandwidth);

                if (k < 0)
                        return k;
                managed_node_shape(w->engine, i, n->far, n->distance);
                if (!n->online)
                        managed_node_drain(w->engine, i, 0, 0);
        }
        return 0;
}

static int world_make(struct world *w) {
        struct managed_config c = {
                .workers = w->options->workers,
                .session_steps = SESSION_STEPS,
                .largest = LARGEST,
                .warm = warm_bytes,
                .continue_protects = true,
                .profile = w->options->profile,
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
                .advice = on_advice,
        };
        int k = managed_new(&w->engine, &c);

        return k ? k : nodes_make(w);
}

static struct managed_group *group_get(struct world *w, uint32_t number) {
        while (number >= w->groups_room)
                w->groups = sim_grow(w->groups, &w->groups_room, sizeof(struct managed_group *));
        if (!number || w->groups[number])
                return w->groups[number];
        if (managed_group_new(w->engine, &w->groups[number]))
                return NULL;
        for (uint32_t i = 0; i < w->machine->count; i++)
                if (w->machine->nodes[i].limited)
                        managed_group_limit(w->engine, w->groups[number], i, w->machine->nodes[i].limit, w->now);
        return w->groups[number];
}

static int range_make(struct world *w, const struct trace_event *e) {
        struct range *r = sim_alloc(1, sizeof(*r));
        int k;

        while (e->range >= w->ranges_room)
                w->ranges = sim_grow(w->ranges, &w->ranges_room, sizeof(struct range *));
        *r = (struct range){ .world = w, .number = e->range, .granule = e->granule, .count = e->count };
        r->host = sim_alloc(r->count, 1);
        r->where = sim_alloc(r->count, 1);
        w->ranges[e->range] = r;
        w->ranges_count = e->range >= w->ranges_count ? e->range + 1 : w->ranges_count;
        k = managed_range_new(w->engine, &r->range, r, group_get(w, e->group), r->granule, r->count, 0, false);
        if (!k && e->flags & TRACE_AHEAD)
                managed_range_ahead(r->range);
        return k;
}

static void range_forget(struct range *r) {
        free(r->host);
        free(r->where);
        free(r->advice);
        free(r);
}

static void actor_free(struct actor *a) {
        for (size_t i = 0; a && i < a->shares_room; i++)
                free(a->shares[i].pte);
        if (a) {
                free(a->shares);
                free(a->waiting);
        }
        free(a);
}

static void world_end(struct world *w) {
        managed_free(w->engine);
        for (size_t i = 0; i < w->sessions_room; i++)
                actor_free(w->sessions[i]);
        for (unsigned i = 0; i < SIM_NODES; i++)
                actor_free(w->devices[i]);
        for (size_t i = 0; i < w->ranges_count; i++)
                if (w->ranges[i])
                        range_forget(w->ranges[i]);
        free(w->sessions);
        free(w->ranges);
        free(w->groups);
        free(w->ready);
        free(w->heap);
}

/* ---- time ---- */

static void tick_wanted(struct world *w) {
        uint64_t due = managed_due(w->engine);

        if (!due || (w->tick && w->tick <= due))
                return;
        w->tick = due > w->now ? due : w->now;
        happens_at(w, w->tick, ENGINE_TICKS, NULL);
}

static void settle(struct world *w) {
        do {
                actors_run(w);
                execute_some(w);
        } while (w->ready_count);
        tick_wanted(w);
}

static bool step(struct world *w) {
        struct happens h;

        if (!happens_next(w, &h))
                return false;
        if (!w->setup && h.what != ENGINE_TICKS)
                tally_time(w->tally, h.at);
        w->now = h.at;
        switch (h.what) {
        case STEP_DONE: execute_done(w, h.step); break;
        case ACTOR_BEGINS: actor_begins(w, h.actor); break;
        case ACTOR_IS_HEARD: actor_heard(w, h.actor); break;
        case ENGINE_TICKS:
                w->tick = 0;
                managed_tick(w->engine, w->now);
                break;
        }
        settle(w);
        return true;
}

/* Until no worker is at anything. */
static void drain(struct world *w) {
        while (w->workers_free < w->options->workers && step(w))
                ;
}

/* ---- what was there when it began ---- */

struct beginning {
        struct world *w;
        uint8_t **seen; /* by range: granules of which something was recorded before where they lay */
        size_t room;
        bool any;
};

static void note(struct beginning *b, const struct trace_event *e) {
        uint8_t *seen = e->range < b->room ? b->seen[e->range] : NULL;

        for (uint32_t i = 0; seen && i < e->count; i++)
                seen[e->first + i] = 1;
}

static void lies(struct beginning *b, const struct trace_event *e) {
        struct range *r = b->w->ranges[e->range];
        uint32_t node = b->w->node_of[e->node];
        bool host = b->w->machine->nodes[node].host;

        for (uint32_t i = e->first; i < e->first + e->count; i++) {
                struct managed_record last = { .range = r,
                                               .granule = i,
                                               .state = host ? RESIDENCY_RESIDENT : RESIDENCY_OUT,
                                               .node = host ? MANAGED_NOWHERE : node,
                                               .slot = MANAGED_NOWHERE,
                                               .host = host ? node : MANAGED_NOWHERE };

                if (b->seen[e->range][i] || r->where[i])
                        continue;
                last.slot = host ? MANAGED_NOWHERE : b->w->numbers++ % UINT32_MAX;
                if (managed_restore(b->w->engine, r->range, &last))
                        continue;
                b->any = true;
                r->host[i] = (uint8_t)(host ? node + 1 : 0);
                r->where[i] = (uint8_t)(node + 1);
                b->w->tally->used[node] += r->granule;
        }
}

static void set_limit(struct world *w, struct managed_group *g, uint32_t node, uint64_t bytes) {
        const struct sim_node *n = &w->machine->nodes[node];

        managed_group_limit(w->engine, g, node, n->limited ? n->limit : bytes, w->now);
}

/* The first word on it is what was in force. */
static void limit_at_first(struct world *w, const struct trace_event *e) {
        struct managed_group *g = group_get(w, e->group);
        uint32_t node = w->node_of[e->node];

        if (g && managed_group_limit_of(g, node) == UINT64_MAX)
                set_limit(w, g, node, e->bytes);
}

static int begin_event(struct beginning *b, const struct trace_event *e) {
        int k = 0;

        switch (e->type) {
        case TRACE_RANGE:
                k = range_make(b->w, e);
                while (e->range >= b->room)
                        b->seen = sim_grow(b->seen, &b->room, sizeof(*b->seen));
                b->seen[e->range] = sim_alloc(e->count, 1);
                break;
        case TRACE_LIES: lies(b, e); break;
        case TRACE_LIMIT: limit_at_first(b->w, e); break;
        case TRACE_FAULT:
        case TRACE_USE:
        case TRACE_MOVED: note(b, e); break;
        default: break;
        }
        return k;
}

/* All ranges of the recording are made now: one that comes later is empty until then. */
static int begin(struct world *w, const void *bytes, size_t size, char *why, size_t why_size) {
        struct beginning b = { .w = w };
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, size);

        w->setup = true;
        while (!k && (k = trace_next(&t, &e)) == 1)
                k = begin_event(&b, &e);
        if (k)
                snprintf(why, why_size, "%s", k == -EBADMSG ? t.why : strerror(-k));
        trace_close(&t);
        for (size_t i = 0; i < b.room; i++)
                free(b.seen[i]);
        free(b.seen);
        if (!k && b.any)
                k = managed_restored(w->engine, 0);
        settle(w);
        drain(w);
        w->heap_count = 0;
        w->tick = 0;
        memcpy(w->tally->peak, w->tally->used, sizeof(w->tally->peak));
        w->setup = false;
        w->now = 0;
        return k;
}

/* ---- requests ---- */

static void advise(struct range *r, const struct world *w, const struct trace_event *e) {
        if (!r->advice)
                r->advice = sim_alloc(r->count, sizeof(*r->advice));
        for (uint32_t i = e->first; i < e->first + e->count; i++) {
                struct policy_advice *a = &r->advice[i];

                if (e->flags & TRACE_PREFERRED)
                        a->preferred = e->preferred ? w->node_of[e->preferred - 1] + 1 : 0;
                if (e->flags & TRACE_ACCESSED_BY) {
                        a->accessed_by = 0;
                        for (uint32_t n = 0; n < SIM_NODES; n++)
                                a->accessed_by |= (e->accessed_by >> n & 1) << w->node_of[n];
                }
                if (e->flags & TRACE_READ_MOSTLY)
                        a->read_mostly = e->on & TRACE_READ_MOSTLY;
                if (e->flags & TRACE_PINNED)
                        a->pinned = e->on & TRACE_PINNED;
                if (e->flags & TRACE_GRANULARITY)
                        a->granularity = e->granularity;
        }
}

static void range_ends(struct world *w, struct range *r) {
        for (uint32_t i = 0; i < r->count; i++)
                if (r->where[i])
                        tally_move(w->tally, r->where[i] - 1u, SIM_NOWHERE, r->granule, MANAGED_BY_REQUEST, 1);
        memset(r->where, 0, r->count);
        managed_range_end(w->engine, r->range, 0, w->now);
        r->range = NULL;
}

static void ask(struct world *w, const struct trace_event *e) {
        struct range *r = w->ranges[e->range];
        uint32_t node = e->node < SIM_NODES ? w->node_of[e->node] : 0;

        if (!r || !r->range)
                return;
        switch (e->type) {
        case TRACE_MIGRATE:
                managed_migrate(w->engine, r->range, e->first, e->count, node, (enum managed_cause)e->flags, 0, w->now);
                break;
        case TRACE_EVICT: managed_evict(w->engine, r->range, e->first, e->count, 0, w->now); break;
        case TRACE_DISCARD: managed_discard(w->engine, r->range, e->first, e->count, 0, w->now); break;
        case TRACE_PIN: managed_pin(w->engine, r->range, e->first, e->count, 0, w->now); break;
        case TRACE_UNPIN: managed_unpin(w->engine, r->range, e->first, e->count, w->now); break;
        case TRACE_ADVISE: advise(r, w, e); break;
        case TRACE_RANGE_END: range_ends(w, r); break;
        default: break;
        }
}

static void capacity(struct world *w, const struct trace_event *e) {
        uint32_t node = w->node_of[e->node];

        if (!w->machine->nodes[node].fixed)
                managed_node_capacity(w->engine, node, e->bytes, w->now);
}

/* ---- playing ---- */

static bool is_touch(const struct trace_event *e) {
        return e->type == TRACE_FAULT || e->type == TRACE_USE;
}

static void advance_to(struct world *w, uint64_t at) {
        while (w->heap_count && w->heap[0].at <= at)
                step(w);
        w->now = at > w->now ? at : w->now;
}

static uint64_t lag_of_all(const struct world *w) {
        uint64_t lag = 0;

        for (size_t i = 0; i < w->sessions_room; i++)
                if (w->sessions[i] && w->sessions[i]->lag > lag)
                        lag = w->sessions[i]->lag;
        for (uint32_t i = 0; i < SIM_NODES; i++)
                if (w->devices[i] && w->devices[i]->lag > lag)
                        lag = w->devices[i]->lag;
        return lag;
}

/* -EDEADLK: what is touched is never served. */
static int play_request(struct world *w, const struct trace_event *e) {
        while (w->busy)
                if (!step(w))
                        return -EDEADLK;
        advance_to(w, w->options->no_think ? w->now : e->time + lag_of_all(w));
        tally_time(w->tally, w->now);
        switch (e->type) {
        case TRACE_CAPACITY: capacity(w, e); break;
        case TRACE_LIMIT: set_limit(w, w->groups[e->group], w->node_of[e->node], e->bytes); break;
        case TRACE_DROPPED: w->tally->dropped += e->value; break;
        default: ask(w, e); break;
        }
        settle(w);
        if (e->type == TRACE_DISCARD) /* who discards waits, or would find what was there */
                drain(w);
        return 0;
}

static int play_event(struct world *w, const struct trace_event *e) {
        struct actor *a;

        w->tally->events++;
        if (e->type == TRACE_NODE || e->type == TRACE_LINK || e->type == TRACE_RANGE || e->type == TRACE_LIES ||
            e->type == TRACE_MOVED || e->type == TRACE_END)
                return 0;
        if (!is_touch(e))
                return play_request(w, e);
        a = e->type == TRACE_USE ? actor_of_device(w, w->node_of[e->node]) : actor_of_session(w, e->node);
        if (!a)
                return -ENOMEM;
        actor_push(w, a, e);
        return 0;
}

static int play(struct world *w, const void *bytes, size_t size, char *why, size_t why_size) {
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, size);

        while (!k && (k = trace_next(&t, &e)) == 1)
                k = play_event(w, &e);
        while (!k && w->busy)
                k = step(w) ? 0 : -EDEADLK;
        if (!k)
                drain(w);
        w->tally->cut = !t.ended;
        if (k == -EDEADLK)
                snprintf(
                        why, why_size,
                        "this machine has no room for what the recording touches: give its nodes more (--node NAME=SIZE)");
        else if (k)
                snprintf(why, why_size, "%s", k == -EBADMSG ? t.why : strerror(-k));
        trace_close(&t);
        return k;
}

int sim_replay(struct sim_tally *ret, const struct sim_machine *m, const void *bytes, size_t size,
               const struct sim_options *o, char *why, size_t why_size) {
        struct world w = { .machine = m, .options = o, .tally = ret, .workers_free = o->workers };
        struct sim_machine of_trace;
        int k = sim_machine_of_trace(&of_trace, bytes, size, why, why_size);

        *ret = (struct sim_tally){ 0 };
        if (k)
                return k;
        sim_machine_match(m, &of_trace, w.node_of);
        k = world_make(&w);
        if (k)
                snprintf(why, why_size, "%s", strerror(-k));
        k = k ? k : begin(&w, bytes, size, why, why_size);
        k = k ? k : play(&w, bytes, size, why, why_size);
        world_end(&w);
        return k;
}
