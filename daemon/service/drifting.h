#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "account/nvml.h"
#include "base/list.h"
#include "core/node.h"
#include "service/told.h"

/*
 * Whether ledger and kernel agree, looked at from time to time (drift-period) and told when that changes: a message in
 * the log, an event for monitors, and a line of `svmd-ctl doctor` while it lasts. Who asks for drift has it told, too.
 *
 *      rests --time--> worker looks --nothing moved--> verdict: begins, goes on, ends --> rests
 *                        ^     |
 *                        +-----+ moved meanwhile, a few times; then there is no verdict
 */
struct drift;
struct service;

struct drifting_row {
        struct told told; /* of what is counted */
        uint64_t reported, ledger;
};

/* What NVIDIA's driver says of its devices that are nodes. */
struct drifting_device {
        char name[64], error[48];              /* error: "", or why it says nothing */
        uint64_t total, used, charged, others; /* others: of processes without a session */
};

struct drifting_nvml {
        bool absent;   /* the machine has no such library */
        char why[160]; /* why nothing came of asking; "": something did, or nobody was asked */
        uint32_t count;
        struct drifting_device devices[NVML_DEVICES_MAX];
};

/* Figures of nodes, ranges, leases and partitions that a turn of the loop takes, at least; what is begun of a session
 * is taken. */
enum { DRIFTING_SLICE = 1024 };

struct drifting {
        uint64_t next_ns; /* 0: nobody looks */
        bool looking;
        struct list taking;         /* struct drift: who wants figures of the ledger */
        uint64_t slices, slice_max; /* turns that took some of them, and the most of one */
        struct drifting_row rows[NODE_MAX + 1];
        uint64_t looks; /* that came to a verdict */
        struct drifting_nvml nvml;
};

void drifting_start(struct service *svc);
void drifting_collect(struct service *svc);
/* A look that is under way goes to the worker. */
void drifting_stop(struct service *svc);
/* What stood still while it was looked at. */
void drifting_verdict(struct service *svc, const struct drift *d);
