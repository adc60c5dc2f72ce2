#pragma once

#include "engine/managed.h"
#include "policy/sim/sim.h"

/*
 * The world that the engine is told of: ranges with their pages, processes with their page tables, links that one
 * transfer after the other goes over, workers that take time. Times are simulated nanoseconds.
 */
struct world;

enum { PTE_MAPPED = 1, PTE_PROTECTED = 2 };

struct range {
        struct world *world;
        struct managed_range *range; /* NULL: it has ended */
        uint32_t number, granule, count;
        uint8_t *host;                /* of each granule: the memfd has it, of this host, plus one */
        uint8_t *where;               /* of each granule: the node with its content, plus one */
        struct policy_advice *advice; /* of each; NULL: none was ever given */
};

/* A process in a range. */
struct share {
        bool joined;
        uint8_t *pte;
};

struct touch {
        uint64_t time; /* in the recording */
        uint32_t range, first;
        bool write;
};

/* Who touches: a session's threads as one, or a device. */
struct actor {
        struct world *world;
        uint32_t device; /* SIM_NOWHERE: a process */
        struct managed_session *session;
        struct share *shares; /* by the range's number */
        size_t shares_room;
        uint64_t lag; /* how much later than in the recording it acts */
        uint64_t free_ns;
        struct touch at; /* while it is busy */
        uint64_t issued_ns;
        bool busy, begun, asked; /* begun: the touch is under way; asked: svmd knows */
        bool joining, queued;    /* queued: in world.ready */
        int result;
        struct touch *waiting; /* that it comes to next */
        size_t waiting_first, waiting_count, waiting_room;
};

enum happening { STEP_DONE, ACTOR_BEGINS, ACTOR_IS_HEARD, ENGINE_TICKS };
struct happens {
        uint64_t at, number; /* number: those at the same time in the order they were put */
        enum happening what;
        union {
                const struct managed_step *step;
                struct actor *actor;
        };
};

struct world {
        struct managed *engine;
        const struct sim_machine *machine;
        const struct sim_options *options;
        struct sim_tally *tally;
        uint32_t node_of[SIM_NODES]; /* of the recording's */
        uint64_t now, numbers, tick;
        bool setup; /* nothing takes time or counts */

        struct happens *heap;
        size_t heap_count, heap_room;
        uint64_t link_free[SIM_NODES][SIM_NODES];
        uint32_t workers_free;

        struct range **ranges;
        size_t ranges_count, ranges_room;
        struct actor **sessions, *devices[SIM_NODES]; /* by their numbers */
        size_t sessions_room;
        struct managed_group **groups;
        size_t groups_room;
        struct actor **ready;
        size_t ready_count, ready_room;
        uint64_t busy; /* actors that are at something or have something waiting */
};

/* events.c: what happens when, earliest first */
void happens_at(struct world *w, uint64_t at, enum happening what, void *whom);
bool happens_next(struct world *w, struct happens *ret);

/* execute.c */
/* Hands steps to the workers that are free. */
void execute_some(struct world *w);
void execute_done(struct world *w, const struct managed_step *step);

/* touch.c */
void actor_push(struct world *w, struct actor *a, const struct trace_event *e);
void actor_begins(struct world *w, struct actor *a);
void actor_heard(struct world *w, struct actor *a);
void actors_wake(struct world *w, const struct range *r, uint32_t first, uint32_t count);
/* Those that have been woken or answered. */
void actors_run(struct world *w);
void actor_ready(struct actor *a);
struct actor *actor_of_session(struct world *w, uint32_t session);
struct actor *actor_of_device(struct world *w, uint32_t node);
struct share *share_of(struct actor *a, uint32_t range);
