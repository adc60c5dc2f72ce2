#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/reuse.h"

enum { POLICY_SPANS = 64 };

/* What LRU would have fetched in our place, beside what we did. Zeroes: nothing seen. */
struct policy_rival {
        uint32_t span[POLICY_SPANS]; /* granules by the span of 2^shift uses in which their last use lies */
        uint64_t newest;             /* span */
        uint64_t edge;               /* use: LRU has let go what was used last before it. 0: it has let nothing go */
        uint64_t fetched;            /* by LRU */
        int64_t behind;              /* fetched by us, less that */
        uint32_t shift;
        bool leads; /* what LRU would let go is to go */
};

enum policy_found {
        POLICY_THERE,
        POLICY_LET_GO, /* it had to make room */
        POLICY_NEW,    /* it is not there for another reason */
};
/* The granule is used where so many granules lie, and where every use is seen; before policy_used(). */
void policy_compared(struct policy_rival *v, const struct policy_reuse *r, uint64_t uses, uint64_t granules,
                     enum policy_found found);
