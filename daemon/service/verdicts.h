#pragma once

#include <stddef.h>

#include "service/internal.h"

struct managed_reservation;
struct policy_advice;

/* What each node makes of advice about pages of the reservation, in the call's memory. -ENOMEM. */
int verdicts_of(struct call *c, const struct managed_reservation *m, const struct policy_advice *a,
                Svmd__V1__AdviceVerdict ***ret, size_t *ret_count);
