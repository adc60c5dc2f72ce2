#pragma once

#include "session.h"

/* Memory of this process that this session has adopted: see adopt.c. With the lock of managed ranges held. */

/* The whole pages in [start, end) become a managed range where they are. On failure nothing has changed. */
int adopt(svmd_session *s, uint64_t start, uint64_t end, svmd_mem *ret, uint64_t *ret_generation);
/* The way back. On failure it is adopted still. */
int adopt_end(svmd_session *s, svmd_mem mem);
bool adopt_has(const svmd_session *s, svmd_mem mem);
/* Before the end of the session: all of it goes back. What svmd does not give back any more is not accessible: it would
 * read as zeroes. */
void adopt_end_all(svmd_session *s);
