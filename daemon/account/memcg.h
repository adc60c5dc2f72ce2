#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel's memory controller says of a control group, in the files of either version:
 *
 *                  version 2             version 1
 *      max         memory.max            memory.limit_in_bytes     a number without a limit is a huge one there
 *      high        memory.high           -
 *      current     memory.current        memory.usage_in_bytes
 *      stat        memory.stat           memory.stat               total_...: with the groups below it
 *      refused     memory.events: max    memory.failcnt            how often it was at its max
 *      killed      memory.events:        memory.oom_control:       processes that were ended for that
 *                  oom_kill              oom_kill
 *
 * Where a hierarchy of version 1 counts memory, none of version 2 does: a machine with both mounted (hybrid) has the
 * controller in one of them.
 */
enum memcg_file { MEMCG_MAX, MEMCG_HIGH, MEMCG_CURRENT, MEMCG_STAT, MEMCG_REFUSED, MEMCG_KILLED, MEMCG_FILES };

#define MEMCG_NO_LIMIT UINT64_MAX
#define MEMCG_LIMITS   (1u << MEMCG_MAX | 1u << MEMCG_HIGH)
#define MEMCG_USE      (1u << MEMCG_CURRENT | 1u << MEMCG_STAT)
#define MEMCG_ALL      ((1u << MEMCG_FILES) - 1)

/* Bytes. What was not read is 0, and no limit. */
struct memcg {
        uint64_t max, high;
        uint64_t current, shmem;
        uint64_t reclaimable; /* of current, what the kernel takes back when the group is full */
        uint64_t refused, killed;
};
#define MEMCG_NONE ((struct memcg){ .max = MEMCG_NO_LIMIT, .high = MEMCG_NO_LIMIT })

/* NULL: that version has no such file. */
const char *memcg_file(unsigned version, enum memcg_file file);
/* The text of that file. False: it says nothing of the kind, and nothing has changed. Pure, as the one above. */
bool memcg_take(struct memcg *m, unsigned version, enum memcg_file file, const char *text, size_t size);
/* The lower one of both. */
uint64_t memcg_limit(const struct memcg *m);
/* At most so much more goes in: what is free below the limit, and what the kernel would take back. */
uint64_t memcg_room(const struct memcg *m);

/* Of the folder: 1, 2, or 0: nobody counts memory there. The first `length` bytes of it are its name. */
unsigned memcg_version(const char *folder, size_t length);
/* `files`: bits. False: the first of them is not there (the root of version 2 has no limits), and what was read so far
 * stands. */
bool memcg_read(const char *folder, size_t length, unsigned version, unsigned files, struct memcg *m);
