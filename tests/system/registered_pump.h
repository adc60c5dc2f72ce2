#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * A device at work on registered memory, at full rate: threads that submit operations one after the other, on a region
 * that is registered and mapped at its own address, until they are stopped. Device bytes have their highest bit set.
 */
enum { PUMP_PAGES = 48, PUMP_SIZE = PUMP_PAGES * 4096, PUMP_BIT = 0x80 };

struct pump_region {
        char *at;
        svmd_mem mem;
        uint64_t generation;
};

void pump_begin(svmd_session *s, svmd_node gpu);
void pump_end(void);
svmd_space pump_space(void);

/* Registers PUMP_SIZE bytes there and maps them for the device. */
void pump_register(struct pump_region *r, char *at);
void pump_unregister(struct pump_region *r);
/* Operations of all kinds begin on the region; returns when some have ended well. */
void pump_start(const struct pump_region *r);
/* Returns when none is under way. */
void pump_stop(void);
/* One operation from here on is refused, reading and writing, as one on memory that was given back. */
void pump_refused(const struct pump_region *r);
void pump_refused_at(const struct pump_region *r, uint64_t offset);
/* One writes and one reads it. */
void pump_works(const struct pump_region *r);
