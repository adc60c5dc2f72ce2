#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What the kernel says of this machine's NUMA nodes, and of whose memory pages are: the oracle outside of svmd.
 */
enum { NUMA_NODES_MAX = 16 };

struct numa {
        unsigned count;                              /* with memory */
        int number[NUMA_NODES_MAX];                  /* the kernel's, in its order */
        bool cpus[NUMA_NODES_MAX];                   /* has some */
        unsigned to[NUMA_NODES_MAX][NUMA_NODES_MAX]; /* distances, by index */
};

void numa_read(struct numa *ret);
/* As QEMU makes it for `./dev vm numa`, in a folder that svmd takes for /sys; and takes it away. Nothing lies on these
 * nodes, but svmd thinks so. */
void numa_imagine(struct numa *ret, char *root, size_t size);
void numa_forget(const char *root);
/* Of this process's pages from `at` on: how many lie on each node, by index. Those that it has not mapped are in none.
 */
void numa_pages(const struct numa *n, const void *at, size_t size, size_t ret[NUMA_NODES_MAX]);
/* All of them lie there. */
bool numa_is_on(const struct numa *n, const void *at, size_t size, unsigned node);
/* Bytes on each node that the process has mapped of files whose names begin so. */
void numa_maps(const struct numa *n, pid_t pid, const char *name, uint64_t ret[NUMA_NODES_MAX]);
