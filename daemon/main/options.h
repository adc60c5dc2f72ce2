#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The table of options: their names, values, bounds, defaults and what they mean stand here and nowhere else.
 */
enum option_kind {
        OPTION_TEXT,    /* char * */
        OPTION_SWITCH,  /* bool: on or off */
        OPTION_SIZE,    /* uint64_t: a number with K, M, G or T */
        OPTION_COUNT,   /* uint32_t */
        OPTION_NUMBER,  /* uint64_t */
        OPTION_LEVEL,   /* int: a level of syslog */
        OPTION_DEVICE,  /* char[max + 1]: as some kind of node names its devices */
        OPTION_REGION,  /* char[max + 1]: a name with a slash and no space */
        OPTION_NODE,    /* NAME:KEY=VALUE,...; `min` is their kind. May be repeated */
        OPTION_LIMIT,   /* NODE=SIZE; may be repeated */
        OPTION_PROFILE, /* of policies: its name, or a file */
        OPTION_SETTING, /* what setting.h has: NAME=VALUE, of a link NODE:NODE=VALUE; `min` is its kind. May be repeated
                         */
        OPTION_FLAG,    /* bool: no value */
        OPTION_HELP,
        OPTION_VERSION,
};

struct option_desc {
        const char *name;  /* without dashes */
        const char *value; /* how the value is called, NULL: there is none */
        enum option_kind kind;
        bool line_only;       /* not in the file */
        size_t offset;        /* in struct config; for a key of a node in struct node_desc */
        const char *fallback; /* the default as it would be typed, NULL: none */
        uint64_t min, max, multiple;
        const char *text; /* sentences */
};

extern const struct option_desc options[];
extern const size_t options_count;

/* What a soft node is made of: keys of [node NAME], and of --soft-node behind the colon. */
extern const struct option_desc node_options[];
extern const size_t node_options_count;

/* What a profile of policies is made of. */
extern const struct option_desc profile_options[];
extern const size_t profile_options_count;

/* NULL: there is none of that name. */
const struct option_desc *option_find(const struct option_desc *table, size_t count, const char *name);
/* The name most like `name`, or NULL if none is. */
const char *option_nearest(const struct option_desc *table, size_t count, const char *name, bool in_file);

/* Reads `text` as a value of `o` into `to`, for the kinds with a plain value. 0, -ENOMEM, or 1: `why` says what was
 * expected, and `to` is as before. */
int option_read(const struct option_desc *o, void *to, const char *text, char *why, size_t why_size);
