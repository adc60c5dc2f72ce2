#pragma once

#include <stdint.h>

struct memory;
struct service;

/* The content of memory in the node's pool is gone: operations that need it end as GONE until it is released. Cannot
 * fail. */
void memory_lost(struct service *svc, uint32_t node);
/* The same, told to everybody: for this reason, or "". */
void node_vanished(struct service *svc, uint32_t node, const char *why);
/* Of one. */
void memory_lose(struct service *svc, struct memory *m);
