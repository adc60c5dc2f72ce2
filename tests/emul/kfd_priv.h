#pragma once

#include "kfd_model.h"
#include "machine.h"

/* What the two files of the model share: a process, and its ranges of attributes. */
struct kfd_svm_args;

enum { KFD_EVENTS_MAX = 4096 };

struct svm_range {
        uint64_t start, end;
        uint32_t preferred, prefetch, flags, granularity;
        uint64_t access, in_place; /* bits of GPUs */
        int at;                    /* the GPU that has the pages; -1: the system has */
};

struct kfd_buffer {
        uint64_t handle, address, size, offset;
        unsigned gpu;
        uint32_t flags;
        uint64_t mapped; /* bits of GPUs */
};

struct kfd_owner {
        struct kfd_model *model;
        uint32_t process;
        unsigned files;
        bool xnack;
        unsigned queues;
        bool events[KFD_EVENTS_MAX + 1];    /* by number */
        uint64_t vms;                       /* bits of GPUs */
        uint32_t drm_fds[MACHINE_GPUS_MAX]; /* that their VMs came from */
        struct kfd_counters of[MACHINE_GPUS_MAX];
        struct kfd_buffer *buffers;
        struct svm_range *ranges; /* ascending, none overlaps another */
        unsigned buffers_count, ranges_count;
        uint64_t last_handle;
        struct kfd_owner *next;
};

struct kfd_model {
        const struct machine *machine;
        enum kfd_rule broken;
        bool without_svm;
        uint64_t used[MACHINE_GPUS_MAX], offsets[MACHINE_GPUS_MAX];
        struct kfd_owner *owners;
};

static inline bool holds(const struct kfd_owner *o, enum kfd_rule rule) {
        return o->model->broken != rule;
}

/* -1: there is none of that number. */
int kfd_gpu_of(const struct kfd_model *k, uint32_t id);
/* Some buffer of the process is mapped on a GPU in the range. */
bool kfd_is_mapped(const struct kfd_owner *o, uint64_t start, uint64_t end, uint64_t gpus);

/* ---- kfd_svm.c ---- */

bool kfd_svm_overlaps(const struct kfd_owner *o, uint64_t start, uint64_t end);
/* `room`: attributes that the call's size has. */
int kfd_svm(struct kfd_owner *o, const struct kfd_memory *memory, struct kfd_svm_args *a, unsigned room);
