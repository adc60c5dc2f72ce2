#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct stat_counts {
        atomic_size_t managed, managed_peak; /* bytes cut from segments and not given back */
        atomic_size_t other, other_peak;     /* bytes that had to come from elsewhere */
        atomic_size_t early;                 /* allocated before the heap was managed */
        atomic_size_t discarded, snapshots, snapshot_bytes;
};
extern struct stat_counts stats;
void stat_managed(size_t bytes, bool more);
void stat_other(size_t bytes);
void stat_init(void);
/* One sentence for the person who runs the program. */
void heap_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
