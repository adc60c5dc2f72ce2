#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/memcg.h"
#include "account/report.h"
#include "account/who.h"

/*
 * Looking: files of the kernel are read here and given to the parsers. Everything may vanish between two calls, which
 * leaves out what has vanished. Callers wait for the kernel: never on the loop's thread.
 */

/* The process of that number, if it had started by `by` (clock ticks since the machine started; UINT64_MAX: whenever).
 * All is "" otherwise. */
void look_at_process(const char *proc_root, uint32_t pid, uint64_t by, struct looked *ret);
/* Of CLOCK_BOOTTIME. */
uint64_t look_ticks(uint64_t boottime_ns);

/* What files of memory that this process has open have taken from the machine (st_blocks), each file once: those whose
 * names begin with svmd-, by kind and number. */
struct look_file {
        char kind[12];   /* "pool", "slots", "arena", "memory", "range", ... */
        uint64_t number; /* of the node, for pools and slots */
        uint64_t bytes;
};
/* Sums of each kind and number; other kinds than pool and slots have number 0. -errno. */
int look_at_files(struct look_file *rows, unsigned room, unsigned *ret_count);

enum { LOOK_FAULTS = 1, LOOK_PAGES_IN = 2, LOOK_PAGES_OUT = 4, LOOK_EVICTED = 8 };
/* What KFD itself counts of a process on a GPU: it leaves nothing out, where its events may be dropped. */
struct look_counts {
        unsigned has; /* LOOK_*; kernels differ in what they count */
        uint64_t faults, pages_in, pages_out, evicted_ms;
};
/* What a process has of a device's memory, by DRM's fdinfo (each open file once, shared memory too) or KFD's sysfs. */
struct look_device {
        char source[8]; /* "fdinfo", "kfd" */
        char device[REPORT_NAME], region[REPORT_NAME];
        uint64_t bytes;
        struct look_counts counts; /* of kfd */
};
bool look_has_counted(const struct look_counts *c);
unsigned look_at_devices(const char *proc_root, const char *sys_root, uint32_t pid, struct look_device *rows,
                         unsigned room);

/* Files of devices that a process has open or mapped, by the device's number where it is one of DRM: a file system of
 * its own may have other names for it. */
struct look_opened {
        char path[REPORT_NAME], driver[REPORT_NAME]; /* driver: "" where it does not say */
        unsigned fds;
        uint64_t mapped; /* bytes */
};
unsigned look_at_opened(const char *proc_root, uint32_t pid, struct look_opened *rows, unsigned room);

/*
 * Where control groups are, by the mounts that systemd makes:
 *
 *      unified    fs/cgroup            has cgroup.controllers; all controllers
 *      hybrid     fs/cgroup/unified    of version 2, with what no hierarchy of version 1 took; fs/cgroup/memory of 1
 *      legacy     fs/cgroup/memory     of version 1
 */
enum { LOOK_FOLDER = 5120 };
/* The folder of a group of that version, whose path is as in /proc/PID/cgroup: where memory is counted, in version 1.
 * False: the path is none, or too long. */
bool look_group_folder(const char *sys_root, unsigned version, const char *path, char folder[LOOK_FOLDER]);
/* The root of the groups of dmem: `given`, or (NULL) that of version 2. False: there is none. */
bool look_dmem_folder(const char *given, const char *sys_root, char folder[LOOK_FOLDER]);
/* That of the group that counts a process's memory, and its version. 0: there is none, or it is not known. */
unsigned look_memory_folder(const char *proc_root, const char *sys_root, uint32_t pid, char folder[LOOK_FOLDER]);

/* What the kernel counts for a control group: of memory, by the hierarchy that does. */
struct look_cgroup {
        bool has_memory;
        struct memcg memory;
        uint64_t limit, room; /* of it and the groups above it, where least is left, and how much; MEMCG_NO_LIMIT */
        unsigned regions_count;
        struct dmem_row regions[REPORT_REGIONS]; /* of dmem */
};
/* `cgroup`: the path in the hierarchy that counts memory; it is the only one where dmem is known, too. */
void look_at_cgroup(const char *sys_root, const char *cgroup, struct look_cgroup *ret);
