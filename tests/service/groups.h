#pragma once

#include <stdint.h>

#include "harness.h"

/* A /proc of the test's own, where it says which control group a process is in. Before clients attach. */
void groups_open(struct world *w);
/* NULL: the process has ended. */
void groups_put(struct world *w, uint32_t pid, const char *path);
