#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel and its drivers say of memory, as text: read here, without a file. What is not there or not
 * understood is left out; a number that does not fit ends as the greatest. Pure.
 */

enum { REPORT_NAME = 64, REPORT_REGIONS = 16 };

/* Of one region of one open DRM file. Bytes; what the driver does not tell is 0. */
struct fdinfo_region {
        char name[REPORT_NAME]; /* "vram", "vram0", "gtt", "system", ... */
        uint64_t total, shared, resident, purgeable, active;
        uint64_t memory;             /* the older drm-memory-REGION */
        uint64_t evicted, requested; /* amdgpu's own */
        bool has_resident, has_memory;
};

/* /proc/PID/fdinfo/FD of a DRM driver (drm-usage-stats). */
struct fdinfo {
        char driver[REPORT_NAME]; /* "": it is no DRM file */
        char pdev[REPORT_NAME];   /* "0000:03:00.0"; "": not stated */
        uint64_t client;          /* the same for all descriptors of one open file */
        bool has_client;
        unsigned regions_count;
        struct fdinfo_region regions[REPORT_REGIONS];
};
void fdinfo_parse(const char *text, size_t size, struct fdinfo *ret);
/* What lies in the region now. */
uint64_t fdinfo_bytes(const struct fdinfo_region *r);
/* It is memory of the device. */
bool fdinfo_is_local(const struct fdinfo_region *r);

/* A line of /proc/PID/maps that shows a file: its name, to the end of the line, and how many bytes. False: it is none.
 */
bool maps_line_parse(const char *line, const char **ret_name, uint64_t *ret_bytes);
/* A name of a device that svmd can have as a node, or that leads to one. */
bool report_is_device(const char *path);

/* A file that is one number (memory.current, vram_GPUID). False: it is none. */
bool report_number(const char *text, size_t size, uint64_t *ret);
/* "KEY NUMBER" in lines (memory.stat). */
bool report_key(const char *text, size_t size, const char *key, uint64_t *ret);

/* "drm/0000:03:00.0/vram0 8514437120" in lines: dmem.current and dmem.capacity of a control group. */
struct dmem_row {
        char driver[REPORT_NAME], device[REPORT_NAME], region[REPORT_NAME];
        uint64_t bytes;
};
/* How many there are, of which at most `room` were written. */
unsigned dmem_parse(const char *text, size_t size, struct dmem_row *rows, unsigned room);
