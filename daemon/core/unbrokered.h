#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What a process was seen to have of devices, against what it has through svmd: grants, spaces, memory, files that it
 * gave. Whatever is more it has from the driver itself. svmd cannot forbid that, and says it.
 */
enum { CLAIM_NAMES = 4, CLAIM_NAME = 64 };

/* What it has of one node through svmd: so a device with one of these names is used with leave. "" is no name. */
struct claim {
        char names[CLAIM_NAMES][CLAIM_NAME];
        uint64_t bytes;
};

enum sight_kind {
        SIGHT_MEMORY, /* bytes of the device's memory */
        SIGHT_OPEN,   /* its file is open */
        SIGHT_MAPPED, /* bytes of its file that are mapped */
};

struct sight {
        enum sight_kind kind;
        const char *device;
        uint64_t bytes;
};

/* Whether it is more than the claims cover. `ret_claimed`: bytes that they do. */
bool unbrokered(const struct claim *claims, unsigned count, const struct sight *seen, uint64_t *ret_claimed);
