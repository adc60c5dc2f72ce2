#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/jobs.h"
#include "proto/svmd.pb-c.h"
#include "service/kernel_has.h"

/*
 * What findings say of the machine, as it was read: files of /proc, /sys and /dev by the worker of accounts, when
 * somebody asks and what is known is older than SEEN_AGE_MS; and once, at the start, what the kernel has.
 *
 *      Status --fresh--> answered out of here
 *         |old
 *         +--> waits while the worker reads, SEEN_WAIT_MS at most --> answered
 *
 * So a request costs the loop no call into a file system, however many ask, and as many operations as there are in it.
 */
struct request;
struct service;

enum { SEEN_AGE_MS = 2000, SEEN_WAIT_MS = 1000 };

struct seen_files {
        unsigned long max_map_count, huge, huge_free; /* 0: also where nothing could be read */
        bool large_folios, dma_heap, udmabuf;
};

struct seen {
        struct job job;
        struct service *svc;
        bool reading;
        uint64_t read_ns;              /* CLOCK_MONOTONIC */
        struct seen_files files, read; /* read: the worker's */
        bool has[KERNEL_HAS_MAX];      /* as kernel_has_all() */
};

/* Reads all of it, in this thread. */
void seen_start(struct service *svc);
/* Whether the request asks for what is to be read anew. */
bool seen_is_old(const struct service *svc, const Svmd__V1__Request *m);
/* Has it read. True: the request waits, and is looked at again. */
bool seen_wait(struct service *svc, struct request *r, const Svmd__V1__Request *m);
