#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What was said of managed ranges and of nodes, and holds until it is taken back: pins, advice, who may use a range,
 * which nodes take nothing. The mover forgets it with its process; the journal does not.
 */
struct service;

/* An effect of PIN, REVOKE, STEAL or NODE_STATE: 0, -ENOMEM, or -EBADMSG with a sentence. */
int said_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size);
/* All of it, for a snapshot: behind ranges and openings. JOURNAL_E_FULL, -ENOMEM. */
int said_put(struct service *svc);
/* Tells the mover: what must hold before it goes on (ranges are there, and sessions are back), and what it then does.
 * -ENOMEM. */
int said_before(struct service *svc);
int said_after(struct service *svc);
