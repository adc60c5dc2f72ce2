#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/reuse.h"

enum { POLICY_SPANS = 192 };

/* Of uses, up to the next one's start. */
struct policy_span {
        uint64_t start;
        uint32_t held; /* granules that were used last in it, and LRU has */
        uint32_t gone; /* those of them that we let go */
};

/* What LRU would have fetched in our place, and what may be staked on knowing better. Zeroes: nothing seen. */
struct policy_rival {
        struct policy_span span[POLICY_SPANS]; /* the oldest first */
        uint32_t spans;
        uint64_t held;    /* of all spans */
        uint64_t now;     /* the last use */
        uint64_t edge;    /* use: LRU has let go what was used last then or before. 0: it has let nothing go */
        uint64_t fetched; /* by LRU */
        uint64_t after;   /* uses: those that it fetches come after as many, in a row */
        int64_t credit;   /* 64ths of a granule that may be fetched more */
        uint32_t trust;   /* granules of it that were not earned */
        uint32_t run;
};

enum policy_found {
        POLICY_THERE,
        POLICY_LET_GO, /* it had to make room */
        POLICY_NEW,    /* it is not there for another reason */
};
/* The granule is used where so many granules lie, and where every use is seen; before policy_used(). */
void policy_compared(struct policy_rival *v, const struct policy_reuse *r, uint64_t uses, uint64_t granules,
                     enum policy_found found);
/* The granule has to make room there. */
void policy_let_go(struct policy_rival *v, const struct policy_reuse *r);
/* What leaves there goes by this, too, at that time. */
void policy_bound(const struct policy_rival *v, uint64_t uses, struct policy_haste *h);
