#pragma once

#include <stdint.h>

#include "base/list.h"
#include "core/ledger.h"
#include "engine/managed.h"
#include "service/limited.h"

/*
 * Limits of sessions and of control groups on managed pages. A managed range is charged to its partition, to the
 * session that reserved it (whoever else has it open), and to the control groups that this one's process is in:
 *
 *      range -- owner's chain -- the session's group, control groups from the innermost on, the partition's group
 *
 * Only who has limits has a group of the mover's. A range that outlives its session counts for its partition alone, as
 * memory does, until another session owns it. Nothing of this is journaled: it follows from limits and owners.
 */
struct managed_client;
struct managed_reservation;
struct service;
struct session;

/* Control groups with limits that lie in one another. */
enum { CHAIN_CGROUPS = MANAGED_CHAIN_MAX - 2 };

/* Of a session or a control group that has limits. */
struct managed_limits {
        struct managed_group *group;
        struct account_news news[MANAGED_NODES_MAX]; /* in managed_state.changed */
        struct limited of;
        struct managed_bounds told[MANAGED_NODES_MAX];
        uint64_t unused[MANAGED_NODES_MAX]; /* as managed_share's */
};

/* Managed pages count for it from here on; no partition; it has accounts. -ENOMEM. */
int chain_limit(struct service *svc, struct limited of);
/* And no longer. */
void chain_unlimit(struct service *svc, struct limited of);
/* What they are on the node is to be looked at, for another reason than that its account has changed. */
void chain_limit_changed(struct limited of, uint32_t node);
/* NULL: its managed pages are not counted. */
struct managed_limits *chain_limits(struct limited of);

/* So that the session can own a range: -ENOMEM. */
int chain_client(struct service *svc, struct managed_client *k);
/* What it reserved counts for its partition alone. */
void chain_client_end(struct service *svc, struct managed_client *k);
/* The range has come up, or has another owner. */
void chain_range(struct service *svc, struct managed_reservation *m);
/* The session has limits, or its control group is another. */
void chain_session(struct service *svc, struct session *s);
/* Control groups with limits have come or gone. */
void chain_sessions(struct service *svc);
