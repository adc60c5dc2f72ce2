#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * When a granule is used again, told from when it was used before. Time is a count of uses that the caller keeps, of
 * all granules together: it stands still when nobody works, and waiting for what is fetched takes none of it.
 */

#define POLICY_USES ((1ull << 36) - 1)

/* Of a granule. Zeroes: never used. */
struct policy_reuse {
        uint64_t last : 36; /* use, modulo 2^36 */
        uint64_t gap : 14;  /* to the next use, as a rule; short floating point. 0: not known */
        uint64_t soon : 14; /* by which it is used again when it is used several times in a row */
};

/* Of a node. Zeroes: nothing seen. */
struct policy_haste {
        uint64_t grace; /* uses, times 256, for which nothing leaves that has just been used */
        uint64_t held;  /* uses: what was used in these stays, while there is anything else (rival.h). 0: none */
};

/* The granule is used; `*uses` is counted on, unless the last use was of the same granule. */
void policy_used(struct policy_reuse *r, uint64_t *uses);
/* It comes without being used: somebody expects that it will be. */
void policy_brought(struct policy_reuse *r, uint64_t uses);
/* It is used where it is not. That was too soon to have let it go if it happens in less uses than an eighth of the
 * granules that the node holds. */
void policy_missed(struct policy_haste *h, const struct policy_reuse *r, uint64_t uses, uint64_t granules);
/* Something was let go. */
void policy_left(struct policy_haste *h);
/* In how many uses it will be used again, as far as one can tell. */
uint64_t policy_away(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses);

struct policy_advice;
/* What the granule on this node gains by staying: of all on a node, the one with the greatest figure goes. `copy`: to
 * read; another place has the content. */
uint64_t policy_spare(const struct policy_advice *advice, uint32_t node, bool copy, uint64_t away);
