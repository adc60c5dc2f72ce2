#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whoever has bounds on nodes: a partition, a session, or a control group. One of the three is set.
 *
 *      node -- partition -- session        what a session is charged, its partition and its control group are, too
 *        \---- /a -- /a/b --/
 */
struct account;
struct cgroup;
struct give_back;
struct managed_group;
struct partition;
struct service;
struct session;

struct limited {
        struct partition *partition;
        struct session *session;
        struct cgroup *cgroup;
};

#define LIMITED_PARTITION(p) ((struct limited){ .partition = (p) })
#define LIMITED_SESSION(s)   ((struct limited){ .session = (s) })
#define LIMITED_CGROUP(g)    ((struct limited){ .cgroup = (g) })

/* NULL: a session that was never charged, nor limited. */
struct account *limited_account(struct limited of, uint32_t node);
/* Where it keeps what comes down, an array with an entry a node. */
struct give_back **limited_give_backs(struct limited of);
/* Bytes of managed pages that count for it on the node. */
uint64_t limited_managed(struct service *svc, struct limited of, uint32_t node);
/* The mover's group of it; NULL: there is none. */
struct managed_group *limited_group(struct limited of);
/* Each of the sessions that are charged there, the first after NULL; and NULL behind the last. */
struct session *limited_session_after(const struct service *svc, struct limited of, const struct session *after);

/* The session with most on the node of those that have less than `than` (NULL: of all) has, or as much and a greater
 * number. NULL: none. */
struct session *limited_largest(const struct service *svc, struct limited of, uint32_t node,
                                const struct session *than);

/* Whose account on the node it is, of those that the session is charged to below the node's. */
struct limited limited_of(const struct session *s, uint32_t node, const struct account *a);

enum { LIMITED_NAME = 192 };
/* "partition lab", "session 7 (pid 42)", "control group /a/b": the end of a path that is longer. */
const char *limited_name(struct limited of, char name[LIMITED_NAME]);
/* Why its account `over` has no room for so much more on the node, and what to do. */
void limited_say(struct limited of, const char *node, uint64_t size, const struct account *over, char *why,
                 size_t why_size);
