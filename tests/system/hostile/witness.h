#pragma once

#include <stdint.h>

#include "harness.h"

struct daemon;

/*
 * A session that others may not disturb: plain memory that it has mapped, memory of a device, and a managed range whose
 * granules it sends to the device and touches. What it must have, in bytes, in charges and in descriptors of svmd's, is
 * noted when it begins.
 */
struct witness {
        svmd_session *s, *watcher;
        const struct daemon *d;
        svmd_node gpu;
        svmd_space space;
        svmd_mem host_memory, gpu_memory;
        volatile uint64_t *host, *range;
        uint64_t at_gpu; /* an address in its space */
        struct ledger charges;
        unsigned svmd_fds, keeper_fds;
        uint64_t blocks; /* that the kernel counts in files of plain memory */
        uint64_t steps, next;
};

/* Of a struct daemon without processes only bytes and progress are looked at: it is in a container. */
void witness_new(struct witness *w, const struct daemon *d, const char *partition);
/* What there is now, of all sessions, is what there has to be from now on. */
void witness_note(struct witness *w);
/* A piece of its work: requests, a move, a fault. */
void witness_step(struct witness *w);
/* Every byte, every charge, every descriptor. */
void witness_check(struct witness *w);
void witness_free(struct witness *w);

#define WITNESS_RANGE (2u << 20) /* bytes of its managed range */
