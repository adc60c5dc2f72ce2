#pragma once

#include <stdint.h>

#include "proto/codec.h"

/* What reserve does for a managed reservation. */
struct call;
struct managed_member;
struct managed_reservation;
struct reservation;
struct tx;

/* Before anything is made; an alignment of 0 becomes what suits the granule. 0 or OP_REFUSED. */
int range_check(struct call *c, const Svmd__V1__Reserve *m, uint64_t *align);
/* Makes all that is managed about `r`, enters it in the transaction, and takes `r` back where it cannot. */
int range_begin(struct call *c, const Svmd__V1__Reserve *m, struct reservation *r);
/* A managed reservation that the session has: 0, OP_REFUSED. */
int range_member(struct call *c, uint64_t id, struct managed_reservation **ret, struct managed_member **ret_member);
/* Behind that of the reservation. */
void effect_range(struct tx *tx, const struct managed_reservation *m);
