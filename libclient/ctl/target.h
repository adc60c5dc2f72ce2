#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <svmd.h>

struct ctl;

/* What a verb is about: a reservation, or a part of it. */
struct target {
        const struct svmd_reservation_row *reservation;
        const char *partition; /* as libsvmd wants it: NULL for the session's own */
        uint64_t address, size;
};

/*
 * Each of these takes a RANGE as it was typed (range.h), looks in the partition of --partition, or in all that the
 * session may see, and returns an exit status; what is wrong was written. Where partitions of two domains have what
 * was typed, the person has to say which is meant.
 */

/* Every reservation that lies in the range or reaches into it, in address order, cut to the range and widened to whole
 * granules. Without a size it is the one reservation there. */
int target_list(struct ctl *c, const char *word, const struct target **ret, size_t *ret_count);
/* One managed reservation, or whole granules of one. */
int target_managed(struct ctl *c, const char *word, struct target *ret);
/* The managed reservation that contains the address or has the name, whole. */
int target_whole(struct ctl *c, const char *word, struct target *ret);
/* An address, whether anything is reserved there or not; a name is the first address of what has it. */
int target_address(struct ctl *c, const char *word, const char **ret_partition, uint64_t *ret);

/* "reservation index", "2 MiB of reservation index", "the reservation at 0x280000000000". */
const char *target_text(struct ctl *c, const struct target *t);
/* How to type it again. */
const char *target_word(struct ctl *c, const struct target *t);
