#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/unbrokered.h"

struct drift_row;
struct service;
struct session;

/* What sessions have of devices through svmd, and what was last seen of what they have without; see op_drift.c. */
enum { CLAIMS_MAX = 16 };

/* For `svmd-ctl doctor`: as it was when drift was last asked for. */
struct unbrokered_seen {
        uint32_t processes;
        char first[256]; /* one of them, and what it has */
};

/* In the loop: one a node. How many there are. */
unsigned claims_of(const struct service *svc, const struct session *s, struct claim *ret, unsigned room);
/* Rows of one process stand together. */
void unbrokered_note(struct unbrokered_seen *seen, const struct drift_row *rows, uint32_t count);
