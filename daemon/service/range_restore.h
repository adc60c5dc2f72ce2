#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Managed reservations over a restart. What they are is in the journal; where their granules are is in their state
 * files, which the keeper held with their memory, the pools and the sessions' userfaultfds.
 */
struct managed_client;
struct service;
struct session;

/* An effect of RANGE, UFFD, JOIN or LEAVE: 0, -ENOMEM, or -EBADMSG with a sentence. */
int range_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size);
/* Makes the ranges again, of which the replay has only said that they are there, and brings sessions back into them.
 * Where the keeper has not what a range needs, the range has ended, and the sessions that had it are to end
 * (managed_client.lost). Negative errno with a sentence: svmd cannot start now. */
int ranges_restore(struct service *svc, char *why, size_t why_size);
/* The session's userfaultfd, which the above does too. -ENOMEM. */
int range_adopt_session(struct service *svc, struct session *s);
/* At the end of the start: pages move again. */
int ranges_go_on(struct service *svc, char *why, size_t why_size);
/* For a snapshot, behind reservations and openings: what the session gave and joined. */
int range_put_session(struct service *svc, const struct managed_client *k);
