#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "client.h"
#include "mover/mover.h"

/*
 * A machine with one host node and two nodes without a device, the mover, and clients. The test is svmd's loop: it
 * waits for answers by pumping.
 */
enum { CLIENTS = 4, HOST = 0, NEAR = 1, FAR = 2, NODES = 3, ANSWERS = 64 };

#define WORLD_ROOM (256ull << 20) /* of addresses */

struct range_size {
        uint32_t granule, count;
        bool huge, poison;
};

struct world {
        struct mover *m;
        struct mover_range *r;
        struct mover_session *s[CLIENTS];
        struct client client[CLIENTS];
        struct memfile *pool[NODES][3]; /* they outlive a mover, as they outlive svmd */
        uint64_t capacity;
        struct {
                int memory, state, uffd[CLIENTS]; /* the keeper's, -1: none */
                bool readonly[CLIENTS], joined[CLIENTS];
        } kept;
        struct range_size range_size;
        uint64_t base;  /* of the addresses that ranges may have, the same in all processes; aligned to 2 MiB */
        uint64_t id;    /* of the last range */
        uint32_t count; /* its granules */
        int wake;       /* eventfd */
        uint64_t token; /* last */
        struct {
                uint64_t token;
                int result;
                char why[128];
        } answer[ANSWERS];
        unsigned answers;
        char why[128];               /* of the last answer that world_answer() gave */
        unsigned lost;               /* how often a session was */
        char lost_why[128];          /* the last time */
        bool lost_kill;              /* then: its process should end */
        uint64_t moved[64];          /* granules, by cause */
        int pool_error;              /* what a pool is refused with */
        struct managed_group *group; /* of ranges that are made */
        struct hints *hints;         /* of all ranges */
        unsigned workers;            /* 0: 4 */
        uint64_t stuck_ns, held_ns;  /* 0: the default */
        bool devices;                /* NEAR and FAR are devices: NEAR has faults, FAR has none */
        const char *agent;           /* with devices: FAR is a CUDA node, of svmd-cuda at this socket */
        uint32_t patience_ms;        /* then: of channels */
        unsigned slots_gone, slots_back;
        struct device *device[NODES];
        struct device_space *space[NODES];
        struct op_results *results;
};

static inline struct range_size size(uint32_t granule, uint32_t count) {
        return (struct range_size){ .granule = granule, .count = count };
}

/* Forks the clients, makes the mover. capacity: bytes of each node beyond the reserves. */
void world_begin(struct world *w, uint64_t capacity);
void world_end(struct world *w);
/* Ends the mover alone, as if svmd had died, and makes another, which gets what the keeper holds. */
void world_restart(struct world *w);

/* A range at base; w->r. */
void world_range(struct world *w, struct range_size s);
/* w->s[i], of client i. */
void world_session(struct world *w, unsigned i);
/* Maps, joins, opens it. 0, or what the join gave. */
int world_join(struct world *w, unsigned i, bool readonly);
/* Range of that size, which the first `clients` have joined. */
void world_share(struct world *w, struct range_size s, unsigned clients);
void world_map(struct world *w, unsigned i, bool readonly);
/* Session 5 advises granules of w->r; `what`: bits of enum policy_attribute. */
struct policy_advice;
void world_advise(struct world *w, uint32_t first, uint32_t count, uint32_t what, const struct policy_advice *a);

/* Waits for the answer of a token; its result. */
int world_answer(struct world *w, uint64_t token);
/* True when there is one already. */
bool world_answered(struct world *w, uint64_t token);
void world_idle(struct world *w);
/* Tells what has happened; waits for it so many ms at most. */
void world_pump(struct world *w, int ms);
/* Fails the test when `ms` runs out. */
struct deadline {
        uint64_t at;
};
struct deadline world_deadline(void);
void world_check_deadline(const struct deadline *d, const char *what);

/* Asks a client, and pumps until it has answered. */
uint64_t client_ask(struct world *w, unsigned i, enum client_op op, uint64_t address, uint64_t size, uint64_t value);
/* Without waiting; then whether it has answered, and the wait. */
void client_tell(struct world *w, unsigned i, enum client_op op, uint64_t address, uint64_t size, uint64_t value);
bool client_answered(struct world *w, unsigned i);
uint64_t client_wait(struct world *w, unsigned i);

/* With devices: the range is seen by a space of the node. An operation's end is waited for. */
void world_show(struct world *w, uint32_t node, bool write);
void world_hide(struct world *w, uint32_t node);
struct device_result world_op(struct world *w, uint32_t node, struct device_op op);
/* Many: returns the fence. */
uint64_t world_submit(struct world *w, uint32_t node, struct device_op op);
struct device_result world_result(struct world *w, uint64_t fence);

/* Whole requests: their results. `count` 0: all. */
int world_migrate(struct world *w, uint32_t first, uint32_t count, uint32_t node);
int world_discard(struct world *w, uint32_t first, uint32_t count);
int world_pin(struct world *w, uint32_t first, uint32_t count);
int world_revoke(struct world *w, bool on);
struct managed_granule_info world_look(struct world *w, uint32_t granule);
uint64_t world_node_used(struct world *w, uint32_t node);
/* Bytes that the node's pools have of the machine. */
uint64_t world_pool_bytes(struct world *w, uint32_t node);
/* Bytes of the range's memory, as the machine counts them. */
uint64_t world_memory(struct world *w);
