#pragma once

#include <stddef.h>
#include <stdint.h>

#include "account/history.h"

/*
 * From who held what to what the history counts: the same bytes under each way to group. Pure.
 *
 * A peak of a group is the greatest of: what its members held together at the end of the span, and what each of them
 * held at most within it. So it is exact for one process, and for a group never more than it had.
 */

/* Whose memory it is; texts that live as long as what is made of them. */
struct sum_who {
        const char *keys[HISTORY_BYS]; /* of HISTORY_BY_NODE: not looked at */
};
struct sum_part {
        const struct sum_who *who;
        const char *node;
        uint64_t page_ms;
        uint64_t held, peak; /* bytes: at the end of the span (0: it ended within), and at most within it */
};

/* At most count * HISTORY_BYS records, those of a way to group in order of their byte-time, the greatest first; the
 * caller frees them with alloc_free(). -ENOMEM. */
int sum_up(const struct sum_part *parts, size_t count, struct history_record **ret, size_t *ret_count);
