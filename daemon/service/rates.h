#pragma once

#include <stdint.h>

#include "engine/managed.h"

struct partition;
struct service;

/* The caps of links, once nodes are there. -ENOMEM. */
int rates_start(struct service *svc);
/* What the configuration says of a partition: its profile and how much may move, 0: no cap. */
const struct policy_profile *rates_profile(const struct service *svc, const char *partition, uint64_t *ret_rate);
