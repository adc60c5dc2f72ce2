#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What NVIDIA's driver counts, as svmd-probe-nvml tells it: a child that runs for moments, whose library may crash or
 * hang. Its report is lines of words:
 *
 *      probe 1                         the version of this format
 *      device INDEX TOTAL USED         bytes; INDEX: the how-manieth of those that were asked for
 *      process INDEX PID BYTES         of the device; BYTES -: the driver does not tell
 *      error INDEX NAME                NVML's name for why there is nothing of that one
 *      absent                          this machine has no libnvidia-ml.so.1
 *      end
 *
 * One line that is not as here, or more bytes than NVML_BYTES_MAX, and all of it is refused.
 */
enum { NVML_DEVICES_MAX = 16, NVML_PROCESSES_MAX = 1024, NVML_TEXT_MAX = 64 << 10, NVML_PATIENCE_MS = 3000 };

#define NVML_UNKNOWN UINT64_MAX
/* More than any device has, and so little that all processes together are no more than 64 bits. */
#define NVML_BYTES_MAX (1ull << 53)

struct nvml_device {
        bool there;
        uint64_t total, used;
        char error[48];
};

struct nvml_process {
        uint32_t device, pid;
        uint64_t bytes; /* NVML_UNKNOWN */
};

struct nvml_report {
        bool absent;
        struct nvml_device devices[NVML_DEVICES_MAX];
        uint32_t processes_count;
        struct nvml_process processes[NVML_PROCESSES_MAX];
};

/* Of text that is all there is. 0, or -EBADMSG. */
int nvml_read(struct nvml_report *ret, const char *text, size_t size);
/* Asks about these devices (numbers, or PCI addresses), at most NVML_DEVICES_MAX, and waits: never on the loop's
 * thread. 0, or negative errno with words that follow "svmd-probe-nvml". */
int nvml_ask(struct nvml_report *ret, const char *program, const char *const *devices, unsigned count, char *why,
             size_t why_size);
