#pragma once

#include "engine/hints.h"

/* What the two files of hints share. */
struct stack {
        uint32_t runs; /* of the map, that have it */
        uint32_t count;
        bool listed;        /* in the list of those that may have no run any more */
        struct stack *next; /* there */
        struct policy_advice advice;
        struct policy_voice voice[];
};

struct party_node {
        struct tree_node node; /* by session */
        struct hint_party party;
};

struct hint_group {
        struct tree_node node; /* by number */
        uint32_t number;
        struct list hints;
};

struct hints {
        struct imap map; /* granule -> stack */
        struct list order;
        struct tree parties, groups;
        uint64_t next; /* order of the next hint */
        struct hint *leaving;
};

static inline struct stack *stack_of(uint64_t value) {
        return (struct stack *)(uintptr_t)value;
}

static inline struct hint_party *party_of(const struct policy_voice *v) {
        return (struct hint_party *)v->hint->party;
}

static inline struct hint *said_by(const struct policy_voice *v) {
        return (struct hint *)v->hint;
}

static inline uint32_t hint_group_number(const struct hint *hint) {
        return hint->what >> POLICY_GROUP & 1 ? hint->policy.advice.group : 0;
}

struct hint_party *hints_party(const struct hints *h, uint64_t session);
struct hint_group *hints_group(const struct hints *h, uint32_t number);
/* One stack less has it. */
void hint_put(struct hints *h, struct hint *hint);
void stack_rule(struct stack *s);
/* One run less has it. */
void stack_put(struct hints *h, struct stack *s);
