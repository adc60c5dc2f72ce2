#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A cgroup of the test's own that stands still: version 2, or the freezer of version 1. */

/* False: this machine has none that this process may make; it said why. */
bool freezer_begin(void);
/* The process goes there, and stands still when this returns. */
void freezer_stop(pid_t pid);
void freezer_go_on(pid_t pid);
/* Its processes have ended. */
void freezer_end(void);
