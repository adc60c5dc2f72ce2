#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* What a process has of a device's memory, by DRM's fdinfo (each open file once, shared memory too) or KFD's sysfs. */
struct look_device {
        char source[8]; /* "fdinfo", "kfd" */
        char device[REPORT_NAME], region[REPORT_NAME];
        uint64_t bytes;
};
unsigned look_at_devices(const char *proc_root, const char *sys_root, uint32_t pid, struct look_device *rows,
                         unsigned room);

/* What the kernel counts for a control group of version 2. */
struct look_cgroup {
        bool has_memory;
        uint64_t current, shmem;
        unsigned regions_count;
        struct dmem_row regions[REPORT_REGIONS]; /* of dmem */
};
void look_at_cgroup(const char *sys_root, const char *cgroup, struct look_cgroup *ret);
