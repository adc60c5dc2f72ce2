#pragma once

#include <pthread.h>
#include <stdint.h>

#include "cuda_api.h"
#include "svmd.h"

/*
 * What a session has of CUDA. `lock` guards all of it; calls of CUDA are made with it held. The two trees are those of
 * tsearch(3), as vectors of a thousand operations look for each of theirs.
 */
struct cuda_space {
        struct cuda_space *next;
        svmd_space space;
        svmd_node node;
        CUdevice device;
        CUcontext context;
};

struct cuda {
        const struct cuda_api *api;
        pthread_mutex_t lock;
        struct cuda_space *spaces;
        void *mems, *mappings;
        struct cuda_host *hosts;
        struct cuda_managed *managed; /* changed with the session's lock held, too */
};

/* All with the lock held. NULL: there is none. */
struct cuda_space *cuda_space_of(const struct cuda *k, svmd_space space);
struct cuda_space *cuda_space_on(const struct cuda *k, svmd_node node);

/* Memory that svmd has charged, for this process alone: a code. */
int cuda_mem_make(struct cuda *k, const struct cuda_space *x, svmd_mem mem, uint64_t size);
/* The handle of memory that this process made, or has now imported: a code. */
int cuda_mem_handle(svmd_session *s, svmd_mem mem, CUhandle *ret);
void cuda_mem_forget(struct cuda *k, svmd_mem mem);
void cuda_mems_end(struct cuda *k);

/* What is mapped wholly within [start, end) of the space is no more: a code. */
int cuda_unmap(struct cuda *k, svmd_space space, uint64_t start, uint64_t end);

/* Host memory that is registered. Of a space that ends: CUDA has it no longer, and with the lock given up it may be
 * unpinned (`s` NULL: the session ends, and svmd does that). */
struct cuda_host *cuda_host_end(struct cuda *k, svmd_space space);
void cuda_host_unpin(svmd_session *s, struct cuda_host *list);
/* 0, or SVMD_E_BUSY: some of it is registered; some of the reservation that starts there. */
int cuda_host_check(const struct cuda *k, uint64_t start, uint64_t end);
int cuda_host_check_reservation(const struct cuda *k, uint64_t start);
