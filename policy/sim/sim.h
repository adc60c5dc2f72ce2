#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/trace.h"

/*
 * What another policy, or another machine, would have made of a recording (docs/trace.md): svmd's own engine and
 * decisions, in simulated time. Nothing is measured: the same input gives the same output.
 *
 * Functions that allocate end the program when there is no memory: this is a program for a person at a terminal.
 */
struct machine;
struct policy_profile;

enum { SIM_NODES = 64, SIM_NOWHERE = SIM_NODES, SIM_CAUSES = TRACE_CAUSES, SIM_SAMPLES = 240 };

struct sim_node {
        char name[32];
        bool host, faults, far, online, fixed; /* fixed: its capacity was said by hand */
        uint64_t capacity, hive;
        bool limited; /* partitions' limits there are what is said here, and not the recording's */
        uint64_t limit;
        uint32_t bandwidth[SIM_NODES]; /* MB/s; 0: no direct link */
        uint32_t distance[SIM_NODES];
};
struct sim_machine {
        struct sim_node nodes[SIM_NODES];
        uint32_t count;
};
/* What the machine's links say; between a host and anything, svmd's usual value where nothing is said. -E2BIG: more
 * nodes than svmd has. */
int sim_machine_take(struct sim_machine *ret, const struct machine *m);
/* The machine that the recording says. Errors as of trace_next(). */
int sim_machine_of_trace(struct sim_machine *ret, const void *bytes, size_t size, char *why, size_t why_size);
struct sim_node *sim_machine_find(struct sim_machine *m, const char *name);
/* Which node each of the trace's is here: of its name, else the so manieth of its kind. */
void sim_machine_match(const struct sim_machine *m, const struct sim_machine *of_trace, uint32_t *ret);

struct sim_options {
        const struct policy_profile *profile;
        uint32_t workers;
        uint64_t fault_ns, step_ns; /* till svmd hears of a fault; of a step beside its bytes */
        bool no_think;              /* each touch follows the one before at once */
};

/* What came of it; bytes by [from][to], where SIM_NOWHERE is "no content yet". */
struct sim_tally {
        uint64_t touches, faults, device_faults, refused;
        uint64_t stalled_ns, stall_max_ns;
        uint64_t moved[SIM_NODES + 1][SIM_NODES + 1];
        uint64_t by_cause[SIM_CAUSES];
        uint64_t evictions; /* granules */
        uint64_t used[SIM_NODES], peak[SIM_NODES];
        uint64_t busy_ns[SIM_NODES][SIM_NODES];
        uint64_t time_ns, events, dropped;
        bool cut; /* the recording has no end */
        struct sim_sample {
                uint64_t at_ns, used[SIM_NODES];
        } samples[SIM_SAMPLES];
        unsigned samples_count;
        uint64_t sample_ns;
};

/* -EBADMSG with `why`. */
int sim_replay(struct sim_tally *ret, const struct sim_machine *m, const void *bytes, size_t size,
               const struct sim_options *o, char *why, size_t why_size);
/* What svmd did while it recorded, by the recording's own word. */
int sim_recorded(struct sim_tally *ret, const void *bytes, size_t size, char *why, size_t why_size);

/* tally.c */
void tally_move(struct sim_tally *t, uint32_t from, uint32_t to, uint64_t bytes, unsigned cause, uint32_t granules);
/* Before anything of that time changes. */
void tally_time(struct sim_tally *t, uint64_t now_ns);
uint64_t tally_link_bytes(const struct sim_tally *t);

void *sim_alloc(size_t count, size_t size);
void *sim_grow(void *p, size_t *room, size_t size);
