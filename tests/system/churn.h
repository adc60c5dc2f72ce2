#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * A client that does random things and knows what its memory must hold: blocks of host memory that the CPU and a device
 * see at one address, and blocks of device memory at addresses of the same slice. Every step that looks compares all
 * bytes; whatever svmd answers must be what the model expects.
 */
enum { CHURN_BLOCKS = 12 };

struct block {
        void *at; /* NULL: none */
        size_t size;
        svmd_mem mem;
        bool device;    /* memory of the device; the CPU cannot see it */
        bool shown;     /* mapped: for the CPU, or in the space for device memory */
        bool in_space;  /* host memory that the device sees too */
        bool released;  /* without its handle; lives by its mappings */
        uint64_t seed;  /* host: word i is seed + i; device: every byte is the low byte */
        bool uncertain; /* device: an operation that wrote was interrupted */
};

struct churn {
        svmd_session *s;
        svmd_node host, gpu;
        svmd_space space;
        struct block block[CHURN_BLOCKS];
        uint64_t steps, fences, interrupted;
};

void churn_begin(struct churn *c, svmd_session *s);
void churn_step(struct churn *c);
void churn_check(struct churn *c);
/* Everything back. */
void churn_end(struct churn *c);
