#include "policy/arbitrate.h"

#include <string.h>

/*
 * One look over the voices for each attribute finds the first in the order; those that need more are looked at again
 * with that known: what else accesses the page, whose fallbacks count, and whether a pin stands.
 */
static bool says(const struct policy_voice *v, enum policy_attribute a) {
        return v->says >> a & 1;
}

static enum policy_rank rank(const struct policy_voice *v) {
        return v->hint->party->rank;
}

static bool before(const struct policy_voice *a, const struct policy_voice *b) {
        return rank(a) != rank(b) ? rank(a) > rank(b) : a->hint->order > b->hint->order;
}

/* Of all parties, or (not NULL) of one. */
static uint32_t first(const struct policy_voice *voices, uint32_t count, enum policy_attribute a,
                      const struct policy_party *of) {
        uint32_t best = POLICY_NOBODY;

        for (uint32_t i = 0; i < count; i++) {
                if (!says(&voices[i], a) || (of && voices[i].hint->party != of))
                        continue;
                if (best == POLICY_NOBODY || before(&voices[i], &voices[best]))
                        best = i;
        }
        return best;
}

bool policy_same(const struct policy_advice *a, const struct policy_advice *b, enum policy_attribute attribute) {
        switch (attribute) {
        case POLICY_PREFERRED: return a->preferred == b->preferred;
        case POLICY_ACCESSED_BY: return a->accessed_by == b->accessed_by;
        case POLICY_READ_MOSTLY: return a->read_mostly == b->read_mostly;
        case POLICY_PINNED: return a->pinned == b->pinned;
        case POLICY_GRANULARITY: return a->granularity == b->granularity;
        case POLICY_FALLBACK: return memcmp(a->fallback, b->fallback, sizeof(a->fallback)) == 0;
        case POLICY_ATOMICS: return a->atomics == b->atomics;
        case POLICY_COARSE: return a->coarse == b->coarse;
        case POLICY_GROUP: return a->group == b->group;
        case _POLICY_ATTRIBUTE_N: break;
        }
        return true;
}

bool policy_is_zero(const struct policy_advice *a, enum policy_attribute attribute) {
        static const struct policy_advice zero;

        return policy_same(a, &zero, attribute);
}

void policy_copy(struct policy_advice *to, const struct policy_advice *from, enum policy_attribute attribute) {
        switch (attribute) {
        case POLICY_PREFERRED: to->preferred = from->preferred; break;
        case POLICY_ACCESSED_BY: to->accessed_by = from->accessed_by; break;
        case POLICY_READ_MOSTLY: to->read_mostly = from->read_mostly; break;
        case POLICY_PINNED: to->pinned = from->pinned; break;
        case POLICY_GRANULARITY: to->granularity = from->granularity; break;
        case POLICY_FALLBACK: memcpy(to->fallback, from->fallback, sizeof(to->fallback)); break;
        case POLICY_ATOMICS: to->atomics = from->atomics; break;
        case POLICY_COARSE: to->coarse = from->coarse; break;
        case POLICY_GROUP: to->group = from->group; break;
        case _POLICY_ATTRIBUTE_N: break;
        }
}

/* The first wish for no node at all: what is behind it does not count. */
static uint32_t nobody_accesses(const struct policy_voice *voices, uint32_t count) {
        uint32_t wall = POLICY_NOBODY;

        for (uint32_t i = 0; i < count; i++)
                if (says(&voices[i], POLICY_ACCESSED_BY) && !voices[i].hint->advice.accessed_by &&
                    (wall == POLICY_NOBODY || before(&voices[i], &voices[wall])))
                        wall = i;
        return wall;
}

static uint64_t accessed_by(const struct policy_voice *voices, uint32_t count) {
        uint32_t wall = nobody_accesses(voices, count);
        uint64_t nodes = 0;

        for (uint32_t i = 0; i < count; i++)
                if (says(&voices[i], POLICY_ACCESSED_BY) &&
                    (wall == POLICY_NOBODY || before(&voices[i], &voices[wall])))
                        nodes |= voices[i].hint->advice.accessed_by;
        return nodes;
}

static bool pin_stands(const struct policy_voice *voices, const struct policy_ruling *r) {
        uint32_t pin = r->winner[POLICY_PINNED], preferred = r->winner[POLICY_PREFERRED];

        return !r->advice.preferred || rank(&voices[preferred]) <= rank(&voices[pin]);
}

void policy_arbitrate(const struct policy_voice *voices, uint32_t count, struct policy_ruling *ret) {
        struct policy_ruling r = { 0 };

        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++) {
                const struct policy_party *of = NULL;

                if (a == POLICY_FALLBACK && r.advice.preferred)
                        of = voices[r.winner[POLICY_PREFERRED]].hint->party;
                r.winner[a] = a == POLICY_FALLBACK && !of ? POLICY_NOBODY : first(voices, count, a, of);
                if (r.winner[a] != POLICY_NOBODY)
                        policy_copy(&r.advice, &voices[r.winner[a]].hint->advice, a);
        }
        r.advice.accessed_by = accessed_by(voices, count);
        if (r.advice.pinned && !pin_stands(voices, &r)) {
                r.advice.pinned = false;
                r.winner[POLICY_PINNED] = POLICY_NOBODY;
        }
        *ret = r;
}

enum policy_fate policy_fate(const struct policy_voice *voices, const struct policy_ruling *ruling, uint32_t voice,
                             enum policy_attribute attribute) {
        const struct policy_advice *wish = &voices[voice].hint->advice;
        uint32_t winner = ruling->winner[attribute];

        if (!says(&voices[voice], attribute))
                return POLICY_SILENT;
        if (winner == voice)
                return POLICY_WON;
        if (attribute == POLICY_ACCESSED_BY && wish->accessed_by && !(wish->accessed_by & ~ruling->advice.accessed_by))
                return POLICY_AGREES;
        if (policy_same(wish, &ruling->advice, attribute))
                return POLICY_AGREES;
        if (winner == POLICY_NOBODY ||
            (attribute == POLICY_FALLBACK && voices[winner].hint->party != voices[voice].hint->party))
                return POLICY_MOOT;
        return rank(&voices[winner]) > rank(&voices[voice]) ? POLICY_OUTRANKED : POLICY_OVERTAKEN;
}
