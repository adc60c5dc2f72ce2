#pragma once

#include <stdint.h>

struct bounds;
struct service;
struct session;

/* Of a session, from the journal: whatever its partition may have by now. 0 or -ENOMEM. */
int session_limits_restore(struct service *svc, struct session *s, uint32_t node, const struct bounds *b);
