#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "svmd.h"

/*
 * A client that keeps its own mmap_lock: page tables for much of the zero page, copied by one fork after another, while
 * granules of its managed range are ordered away and touched. Whoever enters its address space waits for a fork to end.
 * And the measure of what this costs another session: the time of a fault there.
 *
 * Functions give 0 or a sentence that says what failed.
 */
struct hostile_mm_state {
        uint64_t ready;
        uint64_t forks;   /* begun and ended: odd while one goes on */
        uint64_t ordered; /* granules, away */
        uint64_t moved;   /* that are */
        uint64_t stop;
        char why[160]; /* it failed */
};

struct hostile_mm {
        pid_t pid;
        struct hostile_mm_state *state;
};

/* As many bytes of zero page as a machine of this size should bear: 24 GiB, or what memory it has. */
uint64_t hostile_mm_bytes(void);
/* A process of user `uid` (0: this one's) on a session of its default partition. Returns when it is at it. */
const char *hostile_mm_new(struct hostile_mm *h, const char *socket, const char *node, uint32_t uid, uint64_t bytes);
void hostile_mm_free(struct hostile_mm *h);

/* One session's faults: granules of 4 KiB that have been moved to `node`, one by one, each then touched. */
struct faulter {
        svmd_session *s;
        volatile char *at;
        size_t count;
        svmd_node node;
        uint64_t next;
};
const char *faulter_new(struct faulter *f, svmd_session *s, svmd_node node);
/* The time of one touch. */
const char *faulter_once(struct faulter *f, uint64_t *ret_ns);
/* The median and the longest of `samples` touches. */
const char *faulter_measure(struct faulter *f, unsigned samples, uint64_t *ret_median_ns, uint64_t *ret_longest_ns);
const char *faulter_free(struct faulter *f);
