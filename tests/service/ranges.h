#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "harness.h"
#include "process.h"

/* A connection and the process behind it, which maps managed ranges. */
struct user {
        struct client client;
        struct process process;
};

void user_open(struct world *w, struct user *u, uint32_t uid, const char *partition);
/* The connection, then the process. */
void user_close(struct user *u);

Svmd__V1__Op *mk_range(uint64_t size, uint32_t granule, const char *name, uint32_t mode);
Svmd__V1__Op *mk_files(uint64_t reservation);
Svmd__V1__Op *mk_join(uint64_t reservation);
Svmd__V1__Op *mk_migrate(uint64_t address, uint64_t size, uint32_t node);
Svmd__V1__Op *mk_pin(uint64_t address, uint64_t size, bool off);

/* Makes the process's userfaultfd and gives it. */
void user_give(struct user *u);
/* Maps it and joins, all of it with success. */
void user_join(struct user *u, uint64_t reservation, bool write);
/* Only maps it. */
void user_map(struct user *u, uint64_t reservation);
/* Runs an operation with a fence, and gives the fence's code when it is done. */
unsigned user_do(struct user *u, Svmd__V1__Op *op);

/* A partition where processes of this build can map. */
Svmd__V1__Op *mk_range_partition(const char *name, uint64_t size, uint32_t uid, uint32_t mode);

/* The node that the granule has left host memory for, or UINT32_MAX. */
uint32_t where(struct world *w, uint64_t reservation, uint32_t granule);

/* For harness.c: what a digest says of it, its invariants, and whether nothing of ranges is under way. */
void put_managed(FILE *f, struct world *w, const struct reservation *r);
void check_managed(struct world *w);
bool managed_at_rest(struct world *w);
