#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Managed pages on CUDA nodes: how a process that has granules mapped on the device is asked for them back.
 *
 *      session --managed--> managed_client --channels--> cuda_attached: one a node, with a space of that node
 *
 *      attach: a pair of sockets, svmd's end with the keeper -> the client's end in the reply
 *      map:    from now on the channel is asked for those granules -> where they lie -> descriptors in the reply
 *
 * Nothing of it is in the journal. The keeper's descriptor is all that a svmd that takes over needs: it takes
 * everything for mapped that the session may have had mapped.
 */
struct cuda_channel;
struct service;
struct session;
struct space;

struct cuda_attached {
        struct list link; /* in managed_client.channels */
        uint32_t node;
        struct cuda_channel *channel;
        bool audited; /* the log has that its process did not give granules back */
};

/* NULL: the session has none of that node. */
struct cuda_attached *cuda_attached_find(const struct session *s, uint32_t node);
/* Makes one, for a session that has none there: the client's end, or -errno. */
int cuda_attach(struct service *svc, struct session *s, uint32_t node);
/* The session's last space of the node ends, or is another one's: with it goes the channel. */
void cuda_space_gone(struct service *svc, const struct space *space);
/* The node has vanished, and all channels of it with what was mapped by them. */
void cuda_node_gone(struct service *svc, uint32_t node);
/* After a restart, when ranges and spaces are back: those that the keeper held go on. -ENOMEM and such. */
int cuda_restore(struct service *svc, struct session *s);
/* Says in the log which processes did not give granules back since the last time. */
void cuda_collect(struct service *svc);
/* Whether the session's process did not give granules back when it was asked; of which node first, and why. */
bool cuda_withholds(const struct service *svc, const struct session *s, char *text, size_t size);
