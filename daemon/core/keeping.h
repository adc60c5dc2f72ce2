#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * That a named object lives on when its last user has left, because somebody asked for it: a managed reservation,
 * memory, or a lease. It hangs on the object and on the partition, in whose sum of kept bytes the object's size is.
 *
 *      asked for --> in use --last user leaves--> idle --time is over, or removed--> the object ends
 *                      ^                           |
 *                      +-------somebody opens it---+
 */
struct partition;
struct reservation;
struct memory;
struct lease;
struct name;

enum keeping_kind { KEEPING_NONE, KEEPING_RESERVATION, KEEPING_MEMORY, KEEPING_LEASE }; /* numbers of the wire */

/* What is kept: one of the three, the others are NULL. */
struct kept {
        struct reservation *reservation;
        struct memory *memory;
        struct lease *lease;
};

struct keeping {
        struct list by_partition; /* in the order of keeping_after() */
        struct list by_end;       /* the service's: idle ones whose time runs */
        struct kept of;
        uint64_t seconds;  /* that it lasts without users; 0: until it is removed */
        uint64_t since_ns; /* CLOCK_BOOTTIME when the last user left; 0: it has users */
        bool removing;     /* an operation that is not committed yet ends it */
};

/* Of what has a name. Not linked. NULL: out of memory. */
struct keeping *keeping_new(const struct kept *of, uint64_t seconds);
/* An unlinked one, or NULL. */
void keeping_free(struct keeping *k);
/* Into the partition and on the object, which has none; and out again. Its time is not touched. */
void keeping_link(struct keeping *k);
void keeping_unlink(struct keeping *k);

enum keeping_kind keeping_kind(const struct keeping *k);
struct partition *keeping_partition(const struct keeping *k);
const struct name *keeping_name(const struct keeping *k);
uint64_t keeping_object(const struct keeping *k);
uint64_t keeping_size(const struct keeping *k);
/* Nobody has the object open, owns or maps it. */
bool keeping_idle(const struct keeping *k);
/* How many have it open, or a handle on it. */
uint32_t keeping_users(const struct keeping *k);
/* It ends with this request: whatever comes behind in it finds it no more. NULL: no. */
bool keeping_ending(const struct keeping *k);
/* When it ends, on the clock of since_ns; UINT64_MAX: no time runs. */
uint64_t keeping_ends(const struct keeping *k);

/* NULL: there is none. */
struct keeping *keeping_find(const struct partition *p, enum keeping_kind kind, const char *name);
/* In order of kinds, then names; that one need not exist. KEEPING_NONE: from the first. */
struct keeping *keeping_after(const struct partition *p, enum keeping_kind kind, const char *name);
