#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/managed.h"

struct partition;
struct service;

/* Everything that moves goes by what is said now. -ENOMEM: caps of links are as they were, or as they will be. */
int rates_apply(struct service *svc);
/* Of rows in the configuration that mean nothing here. */
void rates_warn(const struct service *svc);
/* What counts where a partition has nothing of its own; and of a partition, with how much may move, 0: no cap. */
const struct policy_profile *rates_machine(const struct service *svc);
const struct policy_profile *rates_profile(const struct service *svc, const char *partition, uint64_t *ret_rate);
/* Whether processes of the partition may give svmd their page faults. */
bool userfaultfd_allowed(const struct service *svc, const char *partition);
