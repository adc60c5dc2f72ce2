#pragma once

#include <pthread.h>

#include "backend/backend.h"
#include "backend/cuda.h"
#include "base/list.h"

/* What the files of a CUDA node share whose pages svmd moves. */
struct cuda_agent;

struct device {
        char agent_path[sizeof(((struct node_desc *)0)->agent)], name[sizeof(((struct node_desc *)0)->device)];

        /* cuda_slots.c */
        pthread_rwlock_t lock;    /* held to use the agent; to write, to have another one */
        struct cuda_agent *agent; /* NULL: there is none */
        char why[160];            /* then: why not */
        pthread_mutex_t fds_lock; /* not for long */
        int *fds;                 /* of slots that are there; or -1: none here, FD_FAILED */
        uint64_t *there, *wanted; /* bit per slot; wanted: its descriptor */
        uint32_t slots;
        pthread_t thread;
        bool started, lost;
        int stop, want; /* eventfds: it has to end; descriptors are wanted */
        void (*told)(void *userdata, bool there, const char *why);
        void *userdata;

        /* cuda_channel.c */
        pthread_mutex_t channels_lock;
        struct list channels, ranges;
        uint64_t patience_ms;
};

extern const struct device_slots cuda_device_slots;
/* The agent, and what it has. No agent is no error. -ENOMEM and such. */
int cuda_slots_begin(struct device *d, uint64_t capacity);
void cuda_slots_end(struct device *d);

int cuda_range_new(struct device *d, struct device_range **ret, const struct device_range_args *args);
void cuda_range_free(struct device_range *r);
int cuda_range_invalidate(struct device_range *r, uint32_t granule);
