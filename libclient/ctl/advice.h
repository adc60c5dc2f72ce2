#pragma once

#include <svmd.h>

/* Attributes of advice as people and JSON call them, in the order of SVMD_ADVISE_*'s bits. */
enum { ADVICE_NAMES = 9 };
struct advice_name {
        unsigned bit;
        const char *word; /* "read-mostly" */
        const char *json; /* "read_mostly" */
};
extern const struct advice_name advice_names[ADVICE_NAMES];
extern const char *const advice_atomics[4];

struct ctl;
struct json_object;
struct node_rows;
/* What nodes make of advice, but for attributes with a bit in `but`. */
struct json_object *advice_verdicts_json(struct ctl *c, const struct node_rows *nodes,
                                         const struct svmd_verdict_row *rows, size_t count, unsigned but);
void advice_verdicts_print(struct ctl *c, const struct node_rows *nodes, const struct svmd_verdict_row *rows,
                           size_t count, unsigned but);
/* Names of the attributes, as JSON has them. */
struct json_object *advice_bits_json(unsigned bits);
struct json_object *advice_hint_json(struct ctl *c, const struct node_rows *nodes, const struct svmd_hint_row *row);
