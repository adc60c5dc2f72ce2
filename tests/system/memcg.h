#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Memory cgroups of the test's own, below the one that it runs in: version 2, or the memory controller of version 1.
 */
struct memcg {
        char path[256]; /* empty: none */
};

/* False: this machine has none that this process may make; it said why. */
bool memcg_new(struct memcg *c, const char *name);
/* Its processes have ended. */
void memcg_end(struct memcg *c);
void memcg_enter(const struct memcg *c, pid_t pid);
/* Bytes of shared memory, memfds among them, that are charged to it. */
uint64_t memcg_shmem(const struct memcg *c);
/* Bytes of everything that are. */
uint64_t memcg_current(const struct memcg *c);
/* Processes of it that were killed because it was full. */
uint64_t memcg_oom_kills(const struct memcg *c);
/* Bytes that it may have charged. */
void memcg_limit(const struct memcg *c, uint64_t bytes);
