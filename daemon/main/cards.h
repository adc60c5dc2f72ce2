#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/kfd.h"
#include "core/node.h"

/*
 * Which GPU of a report each node of kind `kfd` is. One whose hardware is known is that hardware, wherever its place in
 * the topology is now; one of an older svmd, which did not note it, is what has its place. The same hardware with
 * memory of another size (its partitions were changed) is another GPU: what was given out of it is no longer there.
 */
enum { CARDS_NONE = UINT16_MAX };

struct cards {
        uint16_t at[NODE_MAX];     /* of each node: index in the report, or CARDS_NONE */
        bool taken[KFD_NODES_MAX]; /* of each index: it is a node */
};

/* `r`: NULL, where nothing was told: none is. */
void cards_find(struct cards *ret, const struct machine *m, const struct kfd_report *r);
struct card cards_of(const struct kfd_node *k);
uint64_t cards_capacity(const struct kfd_node *k);
/* Words for a person: why the node's GPU is not in the report. */
void cards_why_gone(const struct node_desc *n, const struct kfd_report *r, char *why, size_t why_size);
