#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Who made a call, and its memory, as a driver sees both. */
struct caller {
        pid_t thread, process;
};

/* -ESRCH: it is gone. */
int caller_of(struct caller *ret, pid_t thread);
/* All of it, or -EFAULT. */
int caller_read(const struct caller *c, uint64_t address, void *to, size_t size);
int caller_write(const struct caller *c, uint64_t address, const void *from, size_t size);
/* Whether every page of the range is in some mapping of the process. */
bool caller_has_mapped(const struct caller *c, uint64_t address, uint64_t size);
