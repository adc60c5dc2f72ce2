#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/dmem.h"
#include "base/list.h"

/*
 * Limits of control groups and the kernel's controller of device memory, on nodes whose memory is a region of it
 * (node_desc.dmem). Who owns a value:
 *
 *      own bounds of a group on the node      svmd's: written to the kernel (dmem-drive), once for each change of them
 *                                             and each folder that the group has had; never again over another value
 *      anything else that is read there       somebody else's: followed as what the group was told (core/cgroup.h),
 *                                             and never written
 *
 *      value read --- is what svmd wrote ----> its own: not followed
 *               \---- is another ------------> told; of a group with own bounds a finding, too
 *
 * So what svmd writes never comes back to it as somebody's limit, and two who want different values do not take turns:
 * the last one who wrote is left, the stricter bound holds in the ledger, and it is told. A max that the kernel did not
 * take, since more is used, is tried again until it does. When own bounds go, what svmd wrote goes from the kernel, if
 * it is still that. What it wrote is noted in the state folder before it writes, for the svmd after a kill.
 *
 * What svmd may not write, a process that may is asked to, where there is one (daemon/cgroup/svmd-cgroup.c).
 *
 * A group is looked at when a session comes to be in it, when limits are set, and every dmem-period.
 */
struct dmem_record;
struct service;

enum { DMEM_TROUBLES = 8 };

struct dmem {
        char *root; /* NULL: there is none, or no node has a region */
        bool looking, wanted;
        uint64_t next_ns;    /* 0: nobody looks from time to time */
        struct list records; /* of struct dmem_record: what svmd wrote */
        char troubles[DMEM_TROUBLES][512];
        unsigned troubles_count;
        char missing[256]; /* regions that nodes should have and the kernel has not */
        uint64_t looks;
};

/* Sessions and their groups are there. -ENOMEM. */
int dmem_start(struct service *svc);
void dmem_stop(struct service *svc);
void dmem_collect(struct service *svc);
/* A session has come to be in the group. */
void dmem_follow(struct service *svc, const char *path);
/* Own bounds of a group have changed. */
void dmem_changed(struct service *svc);
bool dmem_is_on(const struct service *svc, uint32_t node);

/* ---- between them: dmem.c, dmem_look.c ---- */

struct dmem_record {
        struct list link;
        uint32_t node;
        uint64_t number; /* of the folder */
        uint64_t value[DMEM_VALUES];
        uint64_t before[DMEM_VALUES]; /* that svmd wrote before: may be there still. As `value`: no other */
        bool pending[DMEM_VALUES];    /* the kernel did not take it yet */
        char path[];
};

enum dmem_by {
        DMEM_BY_SVMD,
        DMEM_BY_SVMD_ALONE,  /* it may not, and nobody listens who may */
        DMEM_BY_SVMD_SILENT, /* it may not, and the writer does not answer */
        DMEM_BY_WRITER,
};

/* A group on a node: what shall be, and what was found. */
struct dmem_entry {
        const char *path, *region;
        uint32_t node;
        bool owned, recorded;
        uint64_t want[DMEM_VALUES];
        uint64_t number, value[DMEM_VALUES], before[DMEM_VALUES]; /* the record's */
        bool pending[DMEM_VALUES];
        bool there;
        unsigned due;    /* a bit for each value that is written */
        int error;       /* of writing */
        enum dmem_by by; /* whose that error is */
        struct dmem_group got;
};

/* How a look reads and writes. What svmd may not write itself, the writer is asked to (daemon/cgroup), until it is
 * silent once: so a look is not held up by it for more than a few seconds. */
struct dmem_way {
        const char *root;
        bool emulated, drive;
        const char *writer; /* its socket; NULL: there is none */
        bool silent;
};

/* In a job's thread: looks, writes what shall be written, looks again. `note` is called between, where something will
 * be written, with what the records are going to be; where it fails nothing is written. */
void dmem_look(struct dmem_way *way, struct dmem_entry *entries, size_t count, int (*note)(void *userdata),
               void *userdata);
