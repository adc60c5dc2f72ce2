#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What /dev/kfd's stream of events says, which is text: one event a line, its number first. A reader of the stream
 * feeds whatever pieces it got, cut anywhere, and is called back for each event that svmd has a use for.
 *
 * The stream is not the truth: the kernel leaves events out when its fifo of 1 KiB is full, and does not say so.
 * Whoever needs numbers reads the counters in sysfs; events tell when to look.
 *
 * Only these types may be asked for (SMI_MASK). Others carry the name of a process, which it chooses, with line ends if
 * it likes: it could put the line of any event there.
 */
enum smi_type {
        SMI_MIGRATE_START = 5,
        SMI_MIGRATE_END = 6,
        SMI_FAULT_START = 7,
        SMI_FAULT_END = 8,
        SMI_QUEUE_EVICTION = 9,
        SMI_QUEUE_RESTORE = 10,
        SMI_UNMAP = 11, /* from a GPU */
};

/* What is written to the stream to have them: bit n - 1 for type n. Without SMI_ALL_PROCESSES (a right) only the own.
 */
#define SMI_MASK          (UINT64_C(0x7f) << 4)
#define SMI_ALL_PROCESSES (UINT64_C(1) << 63)

/* Longer than the kernel's lines are. */
enum { SMI_LINE_MAX = 128 };

/* What its type does not have is 0. GPUs by the driver's ids; 0: the host's memory. Triggers are the kernel's numbers
 * and may be ones that nobody knows yet. */
struct smi_event {
        enum smi_type type;
        int pid;       /* > 0, of the first PID namespace */
        uint64_t ns;   /* CLOCK_BOOTTIME */
        uint64_t page; /* the first one's number, an address / 4096 */
        uint64_t pages;
        uint32_t gpu;                 /* who faulted, whose queues stopped, who has it unmapped */
        uint32_t from, to;            /* of a migration */
        uint32_t prefetch, preferred; /* when it began: where advice wants it */
        uint32_t trigger;
        int error; /* of a migration that ended: 0 or negative; older kernels do not tell, and it is 0 */
        char flag; /* of a fault: 'W' or 'R', at its end 'M' (it migrated) or 'U'; of a restore: 'R' when put off */
};

struct smi {
        char line[SMI_LINE_MAX];
        size_t used;
        bool cut; /* the line was too long, and the rest of it is passed over */
        /* Lines so far, each in one of them. Unknown: of another type. Broken: not as the kernel writes them. */
        uint64_t events, unknown, broken;
};

/* Takes what was read next; an empty `s` (all 0) begins. Calls back from within, in the order of the lines, when a
 * line's end has come. Nothing fails and nothing is allocated. `event` is valid within the call only. */
void smi_feed(struct smi *s, const void *bytes, size_t size,
              void (*call)(void *userdata, const struct smi_event *event), void *userdata);
