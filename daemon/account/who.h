#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "account/sum.h"
#include "account/where.h"

/* What was found out about a process when somebody looked. */
struct looked {
        struct where where;
        char process[20]; /* its name; "": it is gone, or the number is another one's now */
        uint64_t started; /* in clock ticks since the machine started */
};

/*
 * Whose memory something is, as accounts name it. Never changed once it is made: who learns more makes another one.
 * Counted by one thread; others read it while that one has counted them in.
 */
struct who {
        unsigned users;
        struct sum_who sum; /* keys of the history */
        struct looked seen;
};

#define WHO_NONE    "none"    /* no session holds it; or it is in no container */
#define WHO_UNKNOWN "unknown" /* nobody could look while the process was there */

bool looked_same(const struct looked *a, const struct looked *b);

/* `seen` NULL: nobody has looked. Counted once; NULL: out of memory. */
struct who *who_new(const char *partition, uint32_t uid, uint32_t pid, const char *client, const struct looked *seen);
/* Memory of the partition that no session holds. */
struct who *who_none(const char *partition);
struct who *who_use(struct who *w);
/* NULL is allowed. */
void who_drop(struct who *w);
