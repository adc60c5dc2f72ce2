#include "policy/reuse.h"
#include "policy/policy.h"

/*
 * Programs go over their data again and again: a granule comes back after as many uses as the last time. So the one to
 * let go is the one whose next use is farthest, as MIN has it, with the last gap in place of the future:
 *
 *     used ---------- gap ---------- [due] ---------- gap ---------- [due]
 *      |  soon  |                                |
 *      | in use |  away = what is left to due    |  overdue: to the next due, and more with every one that is missed
 *
 * What is used several times in a row (a row of a grid and its neighbours) has small gaps within, and a great one to
 * the next time: what is less than an eighth of the gap is one use that lasts, and after each part of it the granule
 * stays as long as the parts were apart. A gap that is not known (the first pass) is guessed to be the age: what was
 * used longest ago goes first, as with LRU. From the second pass on every granule that is missed has a gap, since what
 * was let go keeps its history.
 *
 * What is let go and comes back at once shows that gaps do not tell all: then nothing that has just been used leaves
 * the node for a grace, which is forgotten again while that does not happen.
 */
enum { MANTISSA = 9, BESIDE = 8, GRACE_UNIT = 256 };

/* Values below 2^10 as they are, greater ones to a part in 512. */
static uint64_t pack(uint64_t value) {
        unsigned shift;

        if (value < 2u << MANTISSA)
                return value;
        shift = 63 - MANTISSA - (unsigned)__builtin_clzll(value);
        return ((uint64_t)shift << MANTISSA) + (value >> shift);
}

static uint64_t unpack(uint64_t packed) {
        uint64_t shift = packed >> MANTISSA, mantissa = packed & ((1u << MANTISSA) - 1);

        return shift ? (mantissa | 1u << MANTISSA) << (shift - 1) : mantissa;
}

static uint64_t age_of(const struct policy_reuse *r, uint64_t uses) {
        return (uses - r->last) & POLICY_USES;
}

static uint64_t greater(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

static void learn(struct policy_reuse *r, uint64_t since) {
        uint64_t gap = unpack(r->gap), soon = unpack(r->soon);

        if (since <= BESIDE)
                soon = greater(soon, since);
        else if (!gap)
                gap = since;
        else if (since < gap / 8)
                soon = since > soon ? since : soon - (soon - since) / 8;
        else if (since / 8 > gap) {
                soon = greater(soon, gap);
                gap = since;
        } else
                gap = (3 * gap + since) / 4;
        r->gap = pack(gap) & 0x3fff;
        r->soon = pack(soon) & 0x3fff;
}

void policy_used(struct policy_reuse *r, uint64_t *uses) {
        if (r->last && r->last == (*uses & POLICY_USES))
                return;
        *uses += (*uses + 1) & POLICY_USES ? 1 : 2; /* 0 is never */
        if (r->last)
                learn(r, age_of(r, *uses));
        r->last = *uses & POLICY_USES;
}

void policy_brought(struct policy_reuse *r, uint64_t uses) {
        if (uses & POLICY_USES && (!r->last || age_of(r, uses) > unpack(r->gap)))
                r->last = uses & POLICY_USES;
}

void policy_missed(struct policy_haste *h, const struct policy_reuse *r, uint64_t uses, uint64_t granules) {
        uint64_t age = age_of(r, uses);

        if (r->last && age <= granules / 8)
                h->grace = greater(h->grace, (age + age / 4) * GRACE_UNIT);
}

void policy_left(struct policy_haste *h) {
        h->grace -= h->grace / GRACE_UNIT;
}

uint64_t policy_away(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        uint64_t age = age_of(r, uses), gap, soon, grace, missed;

        if (!r->gap || age < h->held)
                return age < h->held ? age : h->held + age;
        gap = unpack(r->gap);
        if (r->soon) {
                soon = unpack(r->soon);
                if (age <= soon + soon / 4)
                        return h->held + soon;
        }
        grace = h->grace / GRACE_UNIT;
        if (grace && age <= grace)
                return h->held + grace;
        if (age <= gap)
                return h->held + gap - age;
        if (age <= gap + gap / 8)
                return h->held;
        missed = age >> 32 ? age / gap : (uint32_t)age / (uint32_t)gap; /* 32 bits are divided in half the time */
        return h->held + (missed + 1) * gap - age + missed * gap / 8;
}

/* By shifts: what advice says cannot be guessed, and a wrong guess of the machine's costs more than they do. */
uint64_t policy_spare(const struct policy_advice *advice, uint32_t node, bool copy, uint64_t away) {
        unsigned here = advice->preferred == node + 1, there = advice->preferred && !here;

        return away << (2 * there + copy) >> (2 * here);
}
