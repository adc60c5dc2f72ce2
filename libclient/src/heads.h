#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "svmd.h"

/* The heads of this session's managed ranges, for svmd_range_begin() and svmd_range_retry(): see heads.c. */

struct heads {
        _Atomic uint32_t version;
        _Atomic(struct heads_table *) table; /* NULL until the first */
        struct heads_page *pages, *spare;
        uint64_t past; /* the highest number of ranges that are gone */
};

/* Maps the head of a range's state file and makes it the one of [start, end). Once a range. */
int heads_add(svmd_session *s, uint64_t start, uint64_t end, int state);
/* What was begun in the range that starts there has to be retried. */
void heads_touch(svmd_session *s, uint64_t start);
/* There is no range there any more; nothing happens if there was none. */
void heads_remove(svmd_session *s, uint64_t start);
/* At the end of the session, alone with it. */
void heads_free(svmd_session *s);
