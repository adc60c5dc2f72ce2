#pragma once

#include "ours.h"
#include "patterns.h"

enum { MEMORY = 512, SIZES = 4, CELLS = PATTERNS * SIZES };

/* What one pattern, or a recording, made a node fetch, in granules. */
struct cell {
        const char *name;
        bool pattern; /* else a recording */
        uint32_t percent;
        uint32_t bound; /* as many times MIN as may be, in thousandths; 0: no bound */
        uint64_t min, lru;
        uint64_t lru_of_faults;
        uint64_t seen;        /* svmd's, that sees every use */
        uint64_t group;       /* the same, at a limit of a group */
        uint64_t faults;      /* that sees faults alone: of a pattern held to LRU that does */
        struct fetched ahead; /* with prefetch, and every use seen */
};

typedef uint64_t away_fn(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses);

/* `i`th of CELLS; `away` NULL: svmd's. `all`: group, faults and ahead too, which are else 0. -ENOMEM, -EPROTO. */
int compare_cell(struct cell *ret, uint32_t i, uint64_t seed, bool all, away_fn *away);
/* `i`th of SIZES of what is recorded in a file (docs/trace.md). Also -errno of reading it, -EBADMSG. */
int compare_recording(struct cell *ret, uint32_t i, const char *file, away_fn *away);
/* NULL, or what is not as it should be. */
const char *compare_fault(const struct cell *c);
