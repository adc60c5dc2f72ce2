#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/grant.h"

struct charge;
struct service;
struct session;

/*
 * Grants (core/grant.h) of sessions, and what the journal has of them: that one was given, and what became of it, each
 * before its process hears of it. So a process that was told "yes" is charged whatever becomes of svmd, and one that
 * svmd has heard of is not asked again.
 */

/* NULL: no grant has that number. */
struct grant *grant_find(const struct service *svc, uint64_t id);
/* What the session says became of one of its grants: 0, or a status with a sentence in `why`, and then nothing has
 * changed. */
unsigned grant_said(struct service *svc, struct session *s, uint64_t id, const struct grant_done *d, char *why,
                    size_t why_size);
/* Whether the session may say now that the operations are done on that node: likewise. For who takes over what was made
 * under it. */
unsigned grant_usable(struct service *svc, const struct session *s, uint64_t id, uint64_t generation, uint32_t node,
                      uint32_t operations, struct grant **ret, char *why, size_t why_size);
/* So many of its bytes, which it has, pay for something else from now on, whose charge is empty; journaled. It may be
 * over then. */
void grant_hand_over(struct service *svc, struct grant *g, struct charge *to, uint64_t bytes);
/* It is given back, and nobody is told. */
void grant_end(struct service *svc, struct grant *g);
/* All of a session that ends. */
void grants_end(struct service *svc, struct session *s);

/* All there are now. */
struct grants_sum {
        uint64_t count[GRANT_EXPIRED + 1], bytes[GRANT_EXPIRED + 1];
        uint64_t expired_sessions;
};
void grants_sum(const struct service *svc, struct grants_sum *ret);

/* For a snapshot, and in a replay; what is not as svmd writes it is -EBADMSG, with a sentence in `why`. */
int grants_put(struct service *svc, const struct session *s);
int grant_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size);
