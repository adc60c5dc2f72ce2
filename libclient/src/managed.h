#pragma once

#include "session.h"

/*
 * What this process maps of managed reservations: see managed.c. All but managed_leave() take the lock of managed
 * ranges; the caller holds `va_lock` of the session, which has the reservation in its tree.
 */
struct reservation;

/* Makes it accessible, or sees that another session of the process has done so. On failure nothing of it is mapped. */
int managed_show(svmd_session *s, struct reservation *r);
/* What this session has mapped is not accessible any more: before it is given back. managed_show() is the way back. */
int managed_hide(svmd_session *s, struct reservation *r);
/* It has it no more: the mapping goes, or another session of the process that still has the range goes on with one of
 * its own. With the lock of managed ranges held. */
void managed_leave(svmd_session *s, struct reservation *r);
/* No other session of the process has it any more, whatever they have mapped. */
int managed_take(svmd_session *s, struct reservation *r);
/* Private memory is mapped and accessible, and goes with managed_leave(). */
int managed_show_own(svmd_session *s, struct reservation *r);
/* The addresses are those of a new reservation: what other sessions of the process, who have not heard yet, still map
 * there goes. */
void managed_displace(svmd_session *s, const struct reservation *r);
