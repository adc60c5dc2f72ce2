#pragma once

#include <stdint.h>

/* What a device's driver told of a node or a process since svmd began to listen. Sums of what was heard: a driver may
 * leave events out. Pages are of 4 KiB. */
struct device_events {
        uint64_t pages_in, pages_out; /* that came to a device, and left one */
        uint64_t faults;
        uint64_t evictions, restores; /* of queues */
        uint64_t unmaps;              /* from a device */
};
