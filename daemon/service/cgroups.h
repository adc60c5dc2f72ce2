#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/ledger.h"

/*
 * Control groups of version 2, by their paths, and which one the process of a session is in.
 *
 *      attached ---> path read ---> read again: when limits of groups are set or listed, when svmd has started, and,
 *                                   while any group has limits, before a change that the session asks for, where it
 *                                   was not read for a second
 *
 * A process that is moved takes what it has along: the new group may so have more than its max, and gets nothing more
 * then. Of a process that has ended, while another one goes on with its connection, the last path known stays.
 */
struct cgroup;
struct service;
struct session;

enum { CGROUP_PATH_MAX = 4096 };

/* 0; -ENOENT: it has ended, or is in no hierarchy of version 2; or what reading it failed with. */
int cgroup_of_process(const struct service *svc, uint32_t pid, char path[CGROUP_PATH_MAX]);

/* Reads it for a session that attaches: 0 or -ENOMEM. Not to know is no failure. */
int cgroups_attach(struct service *svc, struct session *s);
/* Again, if it is time; without memory for that what was known stays. */
void cgroups_look(struct service *svc, struct session *s);
void cgroups_look_all(struct service *svc);

/* The own bounds of a linked one: 0, or LEDGER_E_LIMIT. */
int cgroup_set_bounds(struct service *svc, struct cgroup *g, uint32_t node, const struct bounds *b);
/* What the kernel was told: LEDGER_E_LIMIT where its min does not fit into the node any more, and has no effect then.
 */
int cgroup_tell_bounds(struct service *svc, struct cgroup *g, uint32_t node, const struct bounds *b);
/* A group without limits of that path. NULL: out of memory. */
struct cgroup *cgroup_begin(struct service *svc, const char *path);
/* Of those that lie in one another with limits, where this is one of them, the most. */
uint32_t cgroup_nesting(const struct service *svc, const struct cgroup *g);
/* One without limits goes. */
void cgroup_settle(struct service *svc, struct cgroup *g);
/* Those in the store. */
int cgroups_load(struct service *svc, char *why, size_t why_size);
void cgroups_end(struct service *svc);
