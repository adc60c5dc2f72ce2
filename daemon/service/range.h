#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/managed.h"

/*
 * How the objects of managed.h come and go. Whatever begins here is taken back by the function that ends it, which
 * cannot fail.
 */

#define GRANULE_SMALL (4u << 10)
#define GRANULE_LARGE (64u << 10)
#define GRANULE_HUGE  (2u << 20)
/* Of one reservation: what svmd keeps of each granule is memory of its own. */
#define GRANULES_MAX (1u << 24)

/* The session's; made when it first has to do with managed ranges. NULL: out of memory. */
struct managed_client *managed_client_of(struct service *svc, struct session *s);
/* With its session, when its reservations and openings have gone. */
void managed_client_free(struct service *svc, struct session *s);
/* The mover forgets the session: it touches no range any more. */
/* The mover has its userfaultfd. */
void managed_client_came(struct managed_client *k);
void managed_client_leave(struct service *svc, struct session *s);

/* Whether a managed reservation can have this granule. */
bool granule_ok(uint32_t granule, uint64_t address, uint64_t size);
/* Hangs it on the reservation, without a range. -ENOMEM. */
int managed_begin(struct service *svc, struct reservation *r, uint32_t granule, unsigned flags,
                  struct managed_reservation **ret);
/* Its range: around files of an earlier svmd, which are taken over on success, or (-1) new ones. -errno of
 * mover_range_new(). */
int managed_bring_up(struct service *svc, struct managed_reservation *m, int memory, int state);
/* Into the keeper's hands. -errno: neither file is. */
int managed_keep(struct service *svc, struct managed_reservation *m);
/* Its members have ended, the reservation ends with it: at once, or when the mover says that nothing of it is under
 * way. */
void managed_end(struct service *svc, struct managed_reservation *m);
/* The mover has answered: its addresses are free. */
void managed_ended(struct service *svc, struct managed_reservation *m);
/* The journal has that they ended: asks the mover to end them. */
void managed_commit(struct service *svc);

/* The session has it: all spaces of the session see it. -ENOMEM. */
int managed_member_begin(struct service *svc, struct managed_reservation *m, struct session *s, bool readonly);
/* NULL is allowed. */
void managed_member_end(struct service *svc, struct managed_member *member);
/* Its process may touch the range no longer, and its spaces do not see it; it has it, and has pinned what it had. */
void managed_leave_process(struct service *svc, struct managed_member *member);
/* The session has the reservation, of any kind, no longer. */
void managed_closed(struct service *svc, struct reservation *r, const struct session *s);
/* In every space of its session, which the space is linked to. -ENOMEM: nowhere. */
int managed_show(struct service *svc, struct managed_member *member);
/* A space of its session has come, or goes. -ENOMEM. */
int managed_space_begin(struct service *svc, struct space *space);
void managed_space_end(struct service *svc, struct space *space);

/* The partition goes, or the mover. */
void managed_share_free(struct service *svc, struct partition *p);
/* Its mins have changed. */
void managed_share_promised(struct service *svc, struct partition *p);
