#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "account/nvml.h"
#include "account/where.h"
#include "service/drift.h"
#include "service/drifting.h"
#include "service/unbrokered.h"
#include "service/walk.h"

/* Of drift, for the files that look: the ledger's figures, taken in the loop, and the rows that a worker makes of them.
 */
struct drift_node {
        char name[64], device[64];
        uint32_t id;
        bool host, files; /* files: its memory is */
        int nvml;         /* the how-manieth NVIDIA device it is; -1: none */
        uint64_t expects;
};

struct drift_process {
        uint64_t session;
        uint32_t pid;
        char name[64];
        struct where where;
        char group[WHERE_CGROUP];        /* of version 2; "": not known, or its name is longer */
        uint64_t host_bytes;             /* that its session holds on host nodes */
        uint64_t nvml[NVML_DEVICES_MAX]; /* and on those devices */
        struct claim claims[CLAIMS_MAX]; /* what it has of devices through svmd */
        unsigned claims_count;
};

struct drift {
        struct drift_args args;
        struct list link;         /* in svc->drifting.taking, until all is taken */
        struct session_walk walk; /* over the sessions; */
        char after[128];          /* then come the partitions behind this one, for their leases */
        uint32_t room;            /* for processes */
        struct drift_node *nodes;
        uint32_t nodes_count, processes_count;
        struct drift_process *processes;
        uint64_t *held;         /* of each process on each node that is a region of dmem; NULL: there is no dmem */
        const char *nvml_probe; /* NULL: there is no NVIDIA device */
        uint32_t nvml_count, nvml_nodes[NVML_DEVICES_MAX]; /* which nodes they are */
        struct drifting_nvml nvml;                         /* what was found */
        uint32_t *gpus;                                    /* numbers of AMD's GPUs in the driver's calls */
        uint32_t gpus_count;
        uint64_t *on_gpus; /* what each process has on each of them */
        uint64_t print;    /* changes with every figure of the ledger */
        bool moving;
        struct drift_row *rows;
        uint32_t count;
};

struct session;
/* NULL: there are too many, or no memory is left. */
struct drift_row *drift_row_add(struct drift *d, enum drift_scope scope, const char *source);
/* In the worker: what NVIDIA's driver counts, of devices and of all processes that use them. */
void drift_look_at_nvml(struct drift *d);
/* What may explain such a row, where the two differ. */
const char *drift_explain_nvml(const struct drift_row *r);
/* In the loop: what sessions have on GPUs of AMD's compute driver; -ENOMEM. The process comes with its number. */
int drift_take_kfd(struct service *svc, struct drift *d);
void drift_take_kfd_process(struct service *svc, struct drift *d, const struct session *s, uint32_t process);
/* In the worker: whether this is such a GPU; and what one process has on each of them. */
struct look_device;
bool drift_is_kfd_node(const struct drift *d, const struct look_device *v);
void drift_compare_kfd(struct drift *d, uint32_t process, const struct look_device *devices, unsigned count);
