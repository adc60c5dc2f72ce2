#pragma once

#include <stdint.h>

/* The GPUs of a recorded machine, as its KFD topology has them. */
enum { MACHINE_GPUS_MAX = 63 };

struct machine_gpu {
        uint32_t id, node; /* KFD's number for it, and its node's */
        int render;        /* minor number of its DRM file */
        uint32_t device, gfx;
        uint64_t hive, memory;
};

struct machine {
        unsigned count;
        struct machine_gpu gpus[MACHINE_GPUS_MAX];
};

/* Of FOLDER/sys. Complains on stderr; -errno. */
int machine_read(struct machine *ret, const char *folder);
