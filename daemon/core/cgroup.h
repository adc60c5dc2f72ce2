#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ledger.h"

/*
 * A control group with limits: an account a node, which all sessions of processes in it share, in whatever partitions
 * they are. Those of a group below it count there too: so a container is one, whatever groups it makes in itself.
 *
 *      session --> partition --> node
 *         \------> /a/b -------> /a             (the second root of core/ledger.h)
 *
 * Only groups that have limits are known here. A session is in the innermost one whose path begins its own.
 */
struct give_back;
struct managed_limits;
struct session;
struct state;

/*
 * Bounds of a group on a node come from two sides: `own`, which administrators set in svmd, and `told`, what somebody
 * else (a container's runtime, say) has told the kernel. Neither ever becomes the other: what holds is made of both,
 * the lower max and the greater low and min, and when one side takes its own away the other's stays.
 */
struct bounds bounds_of_both(const struct bounds *own, const struct bounds *told);

struct cgroup {
        struct list by_state;
        struct cgroup *outer;                  /* that it lies in, of those that are known */
        struct give_back *give_backs;          /* as of a partition */
        struct managed_limits *managed_limits; /* the service's: struct managed_limits */
        char *path;                            /* as in /proc/PID/cgroup: "/" and no "/" at its end, or "/" alone */
        bool writing;                          /* the service's: the store has a change of it under way */
        struct bounds *own, *told;             /* one a node */
        struct account accounts[];             /* one a node */
};

/* Not linked. NULL: out of memory. */
struct cgroup *cgroup_new(const struct state *s, const char *path);
/* Sessions and groups that lie in it are charged there from now on, with what they have. */
void cgroup_link(struct state *s, struct cgroup *g);
/* Unlinks it if it is linked: they are in the one around it, or in none. */
void cgroup_free(struct state *s, struct cgroup *g);

/* With exactly this path. NULL: none. */
struct cgroup *cgroup_find(const struct state *s, const char *path);
/* The innermost that a process with this path is in. NULL: none. */
struct cgroup *cgroup_around(const struct state *s, const char *path);

/* The path of the session's process has become known; it is taken over, and may be NULL. */
void session_set_cgroup(struct state *s, struct session *session, char *path);
