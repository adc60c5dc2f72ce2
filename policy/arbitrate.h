#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

/*
 * What several parties wish for the same pages, made into one advice.
 *
 * Wishes are put in one order, for each attribute apart: by who said it (an administrator, then the reservation's
 * owner, then those who may write it, then what an owner left behind that has ended, then those who may only read it),
 * and of the same rank the later one first. Then
 *
 *     preferred, read_mostly, pinned,      the first wish is what counts
 *     granularity, atomics, coarse,
 *     group
 *     accessed_by                          all wishes together: they do not contradict one another. Those behind one
 *                                          for no node at all do not count
 *     fallback                             those of the party whose preferred location counts, and no other's: they
 *                                          were said of that location
 *     pinned                               yields to a preferred location of somebody of higher rank: a pin would keep
 *                                          the page from going there. A higher or an equal one stands, and the page
 *                                          stays where it is first placed
 *
 * A wish that is zero ("not pinned", "no preferred location") is one like others, and keeps those behind it from
 * counting. Who has no wish about an attribute does not speak of it at all.
 */
enum policy_attribute {
        POLICY_PREFERRED,
        POLICY_ACCESSED_BY,
        POLICY_READ_MOSTLY,
        POLICY_PINNED,
        POLICY_GRANULARITY,
        POLICY_FALLBACK,
        POLICY_ATOMICS,
        POLICY_COARSE,
        POLICY_GROUP,
        _POLICY_ATTRIBUTE_N,
};

enum policy_rank { POLICY_READER, POLICY_LEFT, POLICY_WRITER, POLICY_OWNER, POLICY_ADMINISTRATOR };

struct policy_party {
        enum policy_rank rank;
};

struct policy_hint {
        const struct policy_party *party;
        uint64_t order; /* larger is later; no two hints have the same */
        struct policy_advice advice;
};

struct policy_voice {
        const struct policy_hint *hint;
        uint32_t says; /* bit per attribute that it has a wish about */
        uint32_t back; /* nothing here: bit per attribute of which the caller notes that it was taken back */
};

#define POLICY_NOBODY UINT32_MAX

struct policy_ruling {
        struct policy_advice advice;
        uint32_t winner[_POLICY_ATTRIBUTE_N]; /* which voice; POLICY_NOBODY: nobody's wish counts */
};

void policy_arbitrate(const struct policy_voice *voices, uint32_t count, struct policy_ruling *ret);

/* What became of one voice's wish. */
enum policy_fate {
        POLICY_SILENT,    /* it has none */
        POLICY_WON,       /* it counts */
        POLICY_AGREES,    /* it says what counts anyway, or is part of it (accessed_by) */
        POLICY_OUTRANKED, /* somebody of higher rank says something else */
        POLICY_OVERTAKEN, /* somebody of the same rank said something else later */
        POLICY_MOOT, /* fallbacks of a location that does not count; a pin that would keep pages from one that does */
};
enum policy_fate policy_fate(const struct policy_voice *voices, const struct policy_ruling *ruling, uint32_t voice,
                             enum policy_attribute attribute);
/* Whether two pieces of advice say the same about an attribute. */
bool policy_same(const struct policy_advice *a, const struct policy_advice *b, enum policy_attribute attribute);
/* Whether it says nothing: the attribute is zero. */
bool policy_is_zero(const struct policy_advice *a, enum policy_attribute attribute);
/* Copies one attribute. */
void policy_copy(struct policy_advice *to, const struct policy_advice *from, enum policy_attribute attribute);
