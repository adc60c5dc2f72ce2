#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * How those who share a node are kept apart.
 *
 *      0          min          low                    high            max
 *      |-----------|------------|----------------------|---------------|
 *       never taken  taken last                         asked to give back first
 *
 * What is not used of a min is kept free: it counts as used for all others. On a node where more is promised than may
 * be granted (`granted`: its capacity without what is kept for moves), every min counts as so much less; so what is
 * promised is never more than what is there, and a swap always finds what is kept for it.
 */
struct policy_share {
        uint64_t used, min, low, high;
};

/* Of all on a node, in sum. */
struct policy_promises {
        uint64_t min;    /* what is promised */
        uint64_t unused; /* and not used: each one's */
};

static inline uint64_t policy_less(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

static inline uint64_t policy_unused(const struct policy_share *s) {
        return policy_less(s->min, s->used);
}

/* What counts of a min on the node. */
uint64_t policy_floor(const struct policy_promises *all, uint64_t granted, uint64_t min);
/* What is kept free on the node. */
uint64_t policy_kept(const struct policy_promises *all, uint64_t granted);
/* How much more those may have to whom all of `own` is promised, `count` of them, on a node that holds `used` and may
 * hold `limit`. What they take counts in each; what is out of one's min takes from nobody: that is there whatever
 * others owe. */
uint64_t policy_share_room(const struct policy_promises *all, uint64_t granted, uint64_t limit, uint64_t used,
                           const struct policy_share *own, unsigned count);
/* Whether that is all out of one min of their own. */
bool policy_share_fits_min(const struct policy_promises *all, uint64_t granted, const struct policy_share *own,
                           unsigned count, uint64_t bytes);

/* Who gives for others, one turn after the other; then nobody does. */
enum policy_turn { POLICY_ABOVE_LOW, POLICY_ABOVE_MIN, _POLICY_TURN_N };
/* Whether something of the share may go for others in that turn: it has more than its low, or its min. */
bool policy_share_gives(const struct policy_promises *all, uint64_t granted, const struct policy_share *s,
                        enum policy_turn turn);

/*
 * Whether what managed ranges were promised by their sizes still has a place beside the mins. Each partition has its
 * own mins to itself: what of its sizes these do not hold has to fit, with that of all others, into what nobody is
 * promised. Of each min one granule of the largest size may be cut off, in pieces that fit nobody.
 */
struct policy_fit {
        uint64_t free;   /* over all nodes: neither explicit, nor kept for moves, nor for a min */
        uint64_t beyond; /* sizes that no min holds */
};
/* A node: `left` beside explicit memory and what is kept for moves, `unused` of all mins by explicit memory. */
void policy_fit_node(struct policy_fit *f, uint64_t left, uint64_t unused);
/* What a min of which explicit memory leaves so much unused holds of managed ranges. */
uint64_t policy_min_holds(uint64_t unused, uint64_t largest);
/* A partition: sizes of its ranges, and the sum of what its mins hold. */
void policy_fit_sizes(struct policy_fit *f, uint64_t sizes, uint64_t held);
static inline bool policy_fits(const struct policy_fit *f) {
        return f->beyond <= f->free;
}

/*
 * Who is asked to give back when `need` bytes are missing on a node, and how much: of those above their high what they
 * have above it, then of those above their low, then of those above their min; in each turn the one with most above
 * goes first, until there is enough. `asked[i]` is what share i is asked for; nobody for more than it has above its
 * min. Returns how much is asked for in all.
 */
uint64_t policy_ask(const struct policy_share *shares, uint32_t count, uint64_t need, uint64_t *asked);
