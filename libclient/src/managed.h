#pragma once

#include "session.h"

/*
 * What this process maps of managed reservations: see managed.c. All but managed_leave() take the lock of managed
 * ranges; the caller holds `va_lock` of the session, which has the reservation in its tree.
 */
struct reservation;

/* Makes it accessible, or sees that another session of the process has done so; not if it is so already. On failure
 * nothing of it is mapped. */
int managed_show(svmd_session *s, struct reservation *r);
/* Nothing of it is accessible any more, unless another session of the process goes on with it: before it is given
 * back. managed_show() is the way back. */
int managed_hide(svmd_session *s, struct reservation *r);
/* The same at its end, which cannot be stopped. With the lock of managed ranges held. */
void managed_leave(svmd_session *s, struct reservation *r);
/* The session has become its owner, and no other of the process has it any more. */
int managed_take(svmd_session *s, struct reservation *r);
/* The addresses are those of a new reservation: what other sessions of the process, who have not heard yet, still map
 * there goes. */
void managed_displace(svmd_session *s, const struct reservation *r);
