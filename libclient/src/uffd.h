#pragma once

#include <stdint.h>

#include "session.h"

/* The session's userfaultfd: what svmd sees the faults of this session's managed ranges by. */

/* Makes it and gives it to svmd, unless that was done. With the lock of managed ranges held. */
int uffd_get(svmd_session *s);
/* svmd sees no faults in [start, end) any more, and is not told of it; threads that wait there try again. */
void uffd_forget(svmd_session *s, uint64_t start, uint64_t end);
void uffd_close(svmd_session *s);
