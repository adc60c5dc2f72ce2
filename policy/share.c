#include "policy/share.h"

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t sum(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* ---- room ---- */

/* What is promised beyond what may be granted. */
static uint64_t too_much(const struct policy_promises *all, uint64_t granted) {
        return policy_less(all->min, granted);
}

uint64_t policy_floor(const struct policy_promises *all, uint64_t granted, uint64_t min) {
        return policy_less(min, too_much(all, granted));
}

uint64_t policy_kept(const struct policy_promises *all, uint64_t granted) {
        return policy_less(all->unused, too_much(all, granted));
}

static uint64_t most_unused(const struct policy_share *own, unsigned count) {
        uint64_t most = 0;

        for (unsigned i = 0; i < count; i++)
                most = policy_unused(&own[i]) > most ? policy_unused(&own[i]) : most;
        return most;
}

uint64_t policy_share_room(const struct policy_promises *all, uint64_t granted, uint64_t limit, uint64_t used,
                           const struct policy_share *own, unsigned count) {
        uint64_t over = too_much(all, granted), others = all->unused, beside, of_min;

        for (unsigned i = 0; i < count; i++)
                others -= policy_unused(&own[i]);
        beside = policy_less(limit, sum(used, policy_less(others, over)));
        of_min = policy_less(most_unused(own, count), over);
        return beside > of_min ? beside : of_min;
}

bool policy_share_fits_min(const struct policy_promises *all, uint64_t granted, const struct policy_share *own,
                           unsigned count, uint64_t bytes) {
        return count && policy_less(most_unused(own, count), too_much(all, granted)) >= bytes;
}

bool policy_share_gives(const struct policy_promises *all, uint64_t granted, const struct policy_share *s,
                        enum policy_turn turn) {
        uint64_t floor = policy_floor(all, granted, s->min);

        if (turn == POLICY_ABOVE_LOW && s->low > floor)
                floor = s->low;
        return s->used > floor;
}

/* ---- admission ---- */

void policy_fit_node(struct policy_fit *f, uint64_t left, uint64_t unused) {
        f->free = sum(f->free, policy_less(left, unused));
}

uint64_t policy_min_holds(uint64_t unused, uint64_t largest) {
        return policy_less(unused, largest);
}

void policy_fit_sizes(struct policy_fit *f, uint64_t sizes, uint64_t held) {
        f->beyond = sum(f->beyond, policy_less(sizes, held));
}

/* ---- asking ---- */

enum { ASK_HIGH, ASK_LOW, ASK_MIN, ASKS };

static uint64_t above(const struct policy_share *s, unsigned turn) {
        uint64_t floor = turn == ASK_HIGH ? s->high : turn == ASK_LOW && s->low > s->min ? s->low : s->min;

        return policy_less(s->used, floor > s->min ? floor : s->min);
}

/* The share with most above that has not been asked for all of it. */
static uint32_t most(const struct policy_share *shares, uint32_t count, unsigned turn, const uint64_t *asked) {
        uint32_t found = count;

        for (uint32_t i = 0; i < count; i++) {
                if (asked[i] >= above(&shares[i], turn))
                        continue;
                if (found == count || above(&shares[i], turn) > above(&shares[found], turn))
                        found = i;
        }
        return found;
}

uint64_t policy_ask(const struct policy_share *shares, uint32_t count, uint64_t need, uint64_t *asked) {
        uint64_t all = 0;
        uint32_t i;

        for (i = 0; i < count; i++)
                asked[i] = 0;
        for (unsigned turn = 0; turn < ASKS; turn++)
                while (all < need && (i = most(shares, count, turn, asked)) < count) {
                        uint64_t more = smaller(above(&shares[i], turn) - asked[i], need - all);

                        asked[i] += more;
                        all += more;
                }
        return all;
}
