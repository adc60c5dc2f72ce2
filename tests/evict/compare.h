#pragma once

#include "ours.h"
#include "patterns.h"

enum { MEMORY = 512, SIZES = 4, CELLS = PATTERNS * SIZES };

/* What one pattern made a node of MEMORY granules fetch. */
struct cell {
        enum pattern pattern;
        uint32_t percent;
        uint64_t min, lru;
        uint64_t seen;        /* svmd's, that sees every use */
        uint64_t faults;      /* that sees faults alone */
        struct fetched ahead; /* with prefetch, and every use seen */
};

typedef uint64_t away_fn(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses);

/* `i`th of CELLS; `away` NULL: svmd's. `all`: faults and ahead too, which are else 0. -ENOMEM, -EPROTO. */
int compare_cell(struct cell *ret, uint32_t i, uint64_t seed, bool all, away_fn *away);
/* As many times MIN as may be, in thousandths; 0: no bound. */
uint32_t compare_bound(enum pattern p);
/* NULL, or what is not as it should be. */
const char *compare_fault(const struct cell *c);
double compare_ratio(uint64_t a, uint64_t b);
