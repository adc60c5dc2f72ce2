#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/*
 * What explicit memory and managed ranges have together. A node's capacity is for both: explicit memory takes its part;
 * managed granules may have the rest, and leave when explicit memory comes. (They get room of explicit memory that
 * nobody uses by spill.h.)
 *
 *      node            |-- explicit --|------ managed may have: mover_node_capacity() ------|
 *      partition, ...  |-- explicit --|-- managed may have: a limit of its group --| its max
 *
 * A managed range is admitted by its size: so much always has a place somewhere, whatever is touched. What a partition
 * has not used of its min on a node is no place for anything of others, explicit or managed (capacity_fit.c, and the
 * mover, which goes by policy/share.h too).
 */
struct lease;
struct partition;
struct service;
struct session;

/* The explicit memory of the partition, and maybe of sessions in it, on this node, or its limit there, has changed. */
void capacity_changed(struct service *svc, struct partition *p, uint32_t node);
/* What somebody who is no partition is promised there, has, or may have, has changed. */
void capacity_node_changed(struct service *svc, uint32_t node);
/* The same of every node. */
void capacity_limits(struct service *svc, struct partition *p);

/* Whether a managed range of that size may be made by the session: 0, or a status with a sentence in `why`. */
unsigned capacity_for_range(struct service *svc, struct session *s, uint64_t size, char *why, size_t why_size);
/* Whether explicit memory that has just been charged on the node, to a session (NULL: to none) too, leaves what was
 * admitted: likewise. */
unsigned capacity_for_memory(struct service *svc, struct partition *p, struct session *s, uint32_t node, char *why,
                             size_t why_size);

/* Whether what the lease asks for, on nodes with managed granules too, would leave what was admitted, and what is
 * pinned. */
bool capacity_for_lease(struct service *svc, const struct lease *l);
/* Whether these mins of the partition, one a node, would. */
bool capacity_for_mins(struct service *svc, struct partition *p, const uint64_t *mins);

/* No managed granules lie where explicit memory of the partition, and of the session (or NULL), has been charged. */
bool capacity_is_free(struct service *svc, struct partition *p, struct session *s, uint32_t node);
/* Managed granules may lie on the node. */
bool capacity_is_shared(const struct service *svc, uint32_t node);
/* Bytes of managed granules on the node. */
uint64_t capacity_managed(struct service *svc, uint32_t node);

/* Until it is free; or for as long as granules leave. */
struct capacity_wait {
        struct list link;
        struct partition *partition; /* it has a session until then */
        struct session *session;     /* that has it, or NULL */
        uint32_t node;
        uint64_t least, since_ns;
        void (*done)(struct service *svc, struct capacity_wait *w, bool free);
};
void capacity_wait(struct service *svc, struct capacity_wait *w);
/* Whoever waits and need not wait any longer. */
void capacity_collect(struct service *svc);
/* Nobody waits any longer. */
void capacity_give_up(struct service *svc);
