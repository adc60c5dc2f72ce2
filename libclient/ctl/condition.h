#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What `svmd-ctl wait` waits for. */
enum condition_kind {
        CONDITION_READY,
        CONDITION_SESSIONS,
        CONDITION_NODE_USED,
        CONDITION_PARTITION_SESSIONS,
        CONDITION_PARTITION_EXISTS,
        CONDITION_PARTITION_GONE,
};

enum condition_op { CONDITION_EQUAL, CONDITION_LESS, CONDITION_MORE, CONDITION_AT_MOST, CONDITION_AT_LEAST };

struct condition {
        enum condition_kind kind;
        char name[64]; /* of the node or partition */
        enum condition_op op;
        uint64_t bound;
};

/* The words of a condition, in one argument or in several ("sessions>=2" is as good as three). 0, or -1 with a sentence
 * in `why`. */
int condition_parse(struct condition *ret, const char *const *words, size_t count, char why[256]);
/* Whether `value` is what the condition's comparison asks for. */
bool condition_compare(const struct condition *c, uint64_t value);
