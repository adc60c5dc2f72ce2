#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "svmd.h"

/* What the parts of vm_hmm share. The oracle is the kernel's own snapshot, by files that the test opened itself. */
enum { DEVICES = 4, PRIVATE_DEVICES = 2, PAGE = 4096 }; /* the first two have device-private memory */

enum page_place { AT_NONE, AT_SYSTEM, AT_UNMAPPED, AT_DEVICE, AT_EXCLUSIVE = AT_DEVICE + DEVICES };

void oracle_open(void);
/* enum page_place, plus the device's number, of each page. */
void oracle_look(const void *at, size_t pages, uint8_t *ret);
/* The raw calls: 0 or errno. */
int raw_out(unsigned device, void *at, size_t pages, void *buffer);
int raw_in(unsigned device, void *at, size_t pages);

/* The rows hmm_out and hmm_in. */
void bench(svmd_session *s, const svmd_node *device, svmd_node host);
