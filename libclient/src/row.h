#pragma once

#include "proto/svmd.pb-c.h"
#include "svmd.h"

/* What messages say, as the program sees it. Strings stay the message's. */
void row_reservation(struct svmd_reservation_row *ret, const Svmd__V1__Reservation *from);
void row_residency(struct svmd_residency_row *ret, const Svmd__V1__Run *from);
/* What is used of a node, and its limits; the others of `ret`, which say whose it is, stay. */
void row_use(struct svmd_use_row *ret, const Svmd__V1__NodeUse *from);
/* SVMD_EXPLICIT ... */
unsigned row_kind(const Svmd__V1__Reservation *from);
void row_past(struct svmd_past_row *ret, const Svmd__V1__Past *from);
void row_touch(struct svmd_touch_row *ret, const Svmd__V1__Touch *from);
/* NULL: nothing was told. */
struct svmd_device_events row_events(const Svmd__V1__DeviceEvents *from);
/* All but `size`. */
void row_advice(struct svmd_advice *ret, const Svmd__V1__AdviceResult *from);
/* What it said is written to `said`, which stays as long. */
void row_hint(struct svmd_hint_row *ret, struct svmd_advice *said, const Svmd__V1__AdviceHint *from);
