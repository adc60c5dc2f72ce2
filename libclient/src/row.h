#pragma once

#include "proto/svmd.pb-c.h"
#include "svmd.h"

/* What messages say, as the program sees it. Strings stay the message's. */
void row_reservation(struct svmd_reservation_row *ret, const Svmd__V1__Reservation *from);
void row_residency(struct svmd_residency_row *ret, const Svmd__V1__Run *from);
/* SVMD_EXPLICIT ... */
unsigned row_kind(const Svmd__V1__Reservation *from);
/* All but `size`. */
void row_advice(struct svmd_advice *ret, const Svmd__V1__AdviceResult *from);
