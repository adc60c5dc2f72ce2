#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/hints.h"

/*
 * What is advised about managed reservations, by sessions that come and go.
 *
 *      while the session has it            its words have the rank of what it is: policy/arbitrate.h
 *      its owner's session ends, and       its words are left behind, and count less than those of anyone who may write
 *      the reservation goes on             it. They take the place of what an owner before it left behind
 *      another session ends, or closes     its words go with it
 *      another takes it over (steal)       all words but the thief's, and administrators', go
 *      an administrator's session ends     its words stay: another administrator takes them back
 */
struct managed_reservation;
struct service;
struct session;

#define ADVICE(attribute) (1u << POLICY_##attribute)
#define ADVICE_ALL        ((1u << _POLICY_ATTRIBUTE_N) - 1)

/* The session has it, or is an administrator's. 0, and an effect's `ret`; -ENOMEM: nothing was said. */
struct effect_advice;
int advice_say(struct service *svc, struct managed_reservation *m, const struct session *s, const struct hint_words *w,
               struct effect_advice *ret);
/* The reservation goes on without its owner, without another session, or with a new owner who has it alone. */
void advice_left(struct service *svc, struct managed_reservation *m, const struct session *owner);
void advice_gone(struct service *svc, struct managed_reservation *m, uint64_t session);
void advice_owned(struct service *svc, struct managed_reservation *m, const struct session *owner);

/* An effect of ADVICE: 0, -ENOMEM, or -EBADMSG with a sentence. */
int advice_replay(struct service *svc, const void *bytes, size_t size, char *why, size_t why_size);
/* For a snapshot: JOURNAL_E_FULL, -ENOMEM. */
int advice_put(struct service *svc, const struct managed_reservation *m);
