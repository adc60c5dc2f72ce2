#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/list.h"

/*
 * Software devices and somebody who answers their faults, as svmd does but simpler: each granule lies in the range's
 * file or in a slot of its pool, and threads move it to and fro, show it, take it away, and answer late or with errors.
 *
 * It also watches. Pool memory of a granule that nobody holds is PROT_NONE, and what is done with the file goes through
 * the functions below first; what a granule has left is poisoned. So an access outside of begin and end ends the test,
 * as does a granule that is ended twice, held by an operation that holds another one, or held after it was taken away.
 * Checks in threads abort; a test that waits longer than 30 seconds does so too.
 */
enum { PAGE = 4096, NODES = 3, RANGES = 3, FENCES = 16384 };

#define CHECK(what)                                                                                                    \
        do {                                                                                                           \
                if (!(what))                                                                                           \
                        check_failed(#what, __FILE__, __LINE__);                                                       \
        } while (0)
_Noreturn void check_failed(const char *what, const char *file, int line);

struct granule {
        uint32_t slot; /* of the pool, counted from 1; 0: in the file */
        uint32_t ops;
        bool changing;           /* nobody may begin */
        uint8_t shown, writable; /* bit per node */
};

/* Where a device's thread is when the hook is called, without the world's lock. */
enum where { AT_BEGIN, AT_END, AT_FAULT, AT_FILE };

struct managed {
        struct world *w;
        uint64_t address;
        uint32_t bytes, count, slots;
        struct memfile *file, *pool;
        bool *slot_used;
        struct granule *granule;
        struct device_range *seen[NODES];
        uint32_t held[NODES]; /* granules that operations of the node hold */
        bool hidden[NODES];   /* nobody of the node sees it */
        bool lies;            /* begin() says yes whatever is shown */
};

struct fault {
        struct list link;
        struct managed *range;
        uint32_t granule, node;
        bool write;
        void *token;
};

struct world {
        const struct backend *b;
        struct device *d[NODES];
        bool single[NODES]; /* at most one space: it holds one granule at a time */
        struct managed range[RANGES];

        pthread_mutex_t lock;
        pthread_cond_t cond;
        struct list faults; /* not answered, and not taken to be */
        struct list given;  /* begun by an answer: struct fault */
        unsigned inside;    /* percent of the faults that are answered before fault() returns */
        unsigned errors;    /* percent that are answered NO_ROOM */
        void (*hook)(struct managed *r, uint32_t granule, enum where where); /* may be NULL */
        int file_error;                                                      /* what the files of ranges say */
        pthread_t movers[2];
        bool moving, stop;
        uint64_t begun, refused, answered, moved; /* how often */

        uint64_t next_fence;
        struct device_result results[FENCES];
        unsigned times[FENCES];
        uint64_t order[FENCES], ended;
};

/* From the seed; a sequence of its own in each thread. */
extern uint64_t random_seed;
uint64_t rnd(uint64_t bound);

struct world *world_new(bool faults);
/* Spaces are gone; nothing may be held or asked for. */
void world_free(struct world *w);
/* A range of RANGES, with memory and seen by all devices. `slots`: of its pool. */
struct managed *managed_new(struct world *w, unsigned i, uint64_t address, uint32_t bytes, uint32_t count,
                            uint32_t slots);
/* Two threads that answer and move. */
void movers_start(struct world *w);
void movers_stop(struct world *w);

/* Byte by byte as it is, whoever has it. */
void managed_read(struct managed *r, uint64_t offset, void *to, uint64_t size);
void managed_write(struct managed *r, uint64_t offset, const void *from, uint64_t size);

/* ---- by hand, with no movers ---- */

/* Waits for the next fault, which is to be answered. */
struct fault *fault_take(struct world *w);
/* Shows the granule where it lies (the pool: puts it there first), and gives it. Frees the fault. */
void fault_serve(struct fault *f, bool pool);
void fault_refuse(struct fault *f, unsigned code, const char *text);
/* Shows it without a fault. */
void managed_show(struct managed *r, uint32_t granule, uint32_t node, bool pool, bool write);
/* Takes it from all nodes. */
void managed_take(struct managed *r, uint32_t granule);
unsigned faults_waiting(struct world *w);
/* Nothing of the range is held by the node or asked for by it, nor will be. */
void expect_hidden(struct managed *r, uint32_t node);
void expect_seen(struct managed *r, uint32_t node);

/* ---- operations ---- */

void fences_anew(struct world *w, uint64_t count);
uint64_t submit(struct world *w, struct device_space *s, struct device_op op);
const struct device_result *await(struct world *w, uint64_t fence);
const struct device_result *run(struct world *w, struct device_space *s, struct device_op op);
void expect_code(const struct device_result *result, unsigned code);
/* Waits until the variable, which is changed under the world's lock or atomically, is true. */
void await_flag(struct world *w, const atomic_bool *flag);
