#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "harness.h"

struct daemon;

/*
 * What hostile clients do, in families. Each case runs in a process of its own, of a user of its own; the witness goes
 * on with its work meanwhile, and is looked at afterwards, when that process is gone.
 */
struct hostile_case {
        const char *name;
        actor_fn run;
        bool stops; /* it stops in the midst, and is killed then */
};

enum { FAMILY_CASES = 5 };

struct hostile_family {
        const char *name;
        struct hostile_case cases[FAMILY_CASES];
};

extern const struct hostile_family hostile_ids, hostile_packets, hostile_fds, hostile_memfd, hostile_uffd, hostile_lock,
        hostile_storms, hostile_readers, hostile_replays, hostile_races, hostile_exec, hostile_admin;

/* What the cases aim at. */
struct hostile_target {
        const char *socket, *admin, *dir; /* the last two: "" where they cannot be seen */
        int keeper, svmd;                 /* processes; 0: they cannot be seen */
        uint64_t session;                 /* the witness's */
        uint64_t ids;                     /* numbers that were given so far are below this */
        uint64_t address, size;           /* of the witness's managed range */
        uint32_t host, gpu;               /* nodes */
};
extern struct hostile_target target;

/* What goes on beside a case. */
struct hostile_beside {
        uint32_t uid;             /* that the hostile process has */
        void (*meanwhile)(void);  /* again and again */
        void (*afterwards)(void); /* when it is gone */
};
/* All cases of the family, or (NULL) of every one: how many. */
unsigned hostile_run(const char *family, const struct hostile_beside *b);
/* A first session of that user, so that what only comes once is there. */
void hostile_come(uint32_t uid);

/* A session of libsvmd, of the partition that the witness is in or (NULL) of its user's own. */
svmd_session *hostile_session(const char *partition);
/* A managed range in it, written. */
volatile char *hostile_range(svmd_session *s, size_t size, const char *name, unsigned mode);
#define HOSTILE_PARTITION "lab"
enum { HOSTILE_SESSIONS = 64 }; /* that a user may have */
