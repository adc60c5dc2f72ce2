#include "condition.h"

#include <stdio.h>
#include <string.h>

#include "size.h"
#include "suggest.h"

enum { TOKENS = 8, TOKEN_TEXT = 64 };

struct tokens {
        char text[TOKENS][TOKEN_TEXT];
        size_t count;
};

static const char *const ops[] = {
        [CONDITION_EQUAL] = "=",    [CONDITION_LESS] = "<",      [CONDITION_MORE] = ">",
        [CONDITION_AT_MOST] = "<=", [CONDITION_AT_LEAST] = ">=",
};

static int token_add(struct tokens *t, const char *text, size_t length) {
        if (length == 0)
                return 0;
        if (t->count == TOKENS || length >= TOKEN_TEXT)
                return -1;
        memcpy(t->text[t->count], text, length);
        t->text[t->count++][length] = '\0';
        return 0;
}

/* Words end at spaces, and where a comparison begins or ends. */
static int tokenise(struct tokens *t, const char *text) {
        size_t length;

        while (*text) {
                text += strspn(text, " \t");
                length = strcspn(text, " \t=<>");
                if (token_add(t, text, length) != 0)
                        return -1;
                text += length;
                length = strspn(text, "=<>");
                if (token_add(t, text, length) != 0)
                        return -1;
                text += length;
        }
        return 0;
}

static bool is(const struct tokens *t, size_t i, const char *word) {
        return i < t->count && strcmp(t->text[i], word) == 0;
}

/* "OP BOUND" as the last two words, from `at` on. */
static int comparison(struct condition *c, const struct tokens *t, size_t at, bool size, char why[256]) {
        size_t op = 0;

        if (t->count != at + 2) {
                snprintf(why, 256, "expected a comparison after '%s', as in '%s >= %s'", t->text[at - 1],
                         t->text[at - 1], size ? "1G" : "2");
                return -1;
        }
        while (op < sizeof(ops) / sizeof(ops[0]) && strcmp(ops[op], t->text[at]) != 0)
                op++;
        if (op == sizeof(ops) / sizeof(ops[0])) {
                snprintf(why, 256, "'%s' is no comparison; expected one of = < > <= >=", t->text[at]);
                return -1;
        }
        if ((size ? size_parse : count_parse)(t->text[at + 1], &c->bound) != 0) {
                snprintf(why, 256, "'%s' is no %s", t->text[at + 1], size ? "size, as in 512M" : "whole number");
                return -1;
        }
        c->op = (enum condition_op)op;
        return 0;
}

static int partition_condition(struct condition *c, const struct tokens *t, char why[256]) {
        if (is(t, 2, "sessions")) {
                c->kind = CONDITION_PARTITION_SESSIONS;
                return comparison(c, t, 3, false, why);
        }
        if (t->count == 3 && is(t, 2, "exists")) {
                c->kind = CONDITION_PARTITION_EXISTS;
                return 0;
        }
        if (t->count == 3 && is(t, 2, "gone")) {
                c->kind = CONDITION_PARTITION_GONE;
                return 0;
        }
        snprintf(why, 256, "expected 'partition NAME exists', 'gone' or 'sessions OP N'");
        return -1;
}

static int unknown(const struct tokens *t, char why[256]) {
        static const char *const kinds[] = { "ready", "sessions", "node", "partition" };
        const char *near = t->count ? suggest(t->text[0], kinds, 4) : NULL;

        if (near)
                snprintf(why, 256, "unknown condition '%s'; did you mean '%s'?", t->text[0], near);
        else
                snprintf(why, 256,
                         "expected 'ready', 'sessions OP N', 'node NODE used OP SIZE' or 'partition NAME ...'");
        return -1;
}

static int parse(struct condition *c, const struct tokens *t, char why[256]) {
        if (t->count == 1 && is(t, 0, "ready")) {
                c->kind = CONDITION_READY;
                return 0;
        }
        if (is(t, 0, "sessions")) {
                c->kind = CONDITION_SESSIONS;
                return comparison(c, t, 1, false, why);
        }
        if (is(t, 0, "node") && is(t, 2, "used")) {
                c->kind = CONDITION_NODE_USED;
                memcpy(c->name, t->text[1], sizeof(c->name));
                return comparison(c, t, 3, true, why);
        }
        if (is(t, 0, "partition") && t->count >= 3) {
                memcpy(c->name, t->text[1], sizeof(c->name));
                return partition_condition(c, t, why);
        }
        return unknown(t, why);
}

int condition_parse(struct condition *ret, const char *const *words, size_t count, char why[256]) {
        struct tokens t = { .count = 0 };
        struct condition c = { 0 };
        int r;

        for (size_t i = 0; i < count; i++) {
                if (tokenise(&t, words[i]) != 0) {
                        snprintf(why, 256, "the condition is too long; a name has at most 63 characters");
                        return -1;
                }
        }
        r = parse(&c, &t, why);
        if (r == 0)
                *ret = c;
        return r;
}

bool condition_compare(const struct condition *c, uint64_t value) {
        switch (c->op) {
        case CONDITION_EQUAL: return value == c->bound;
        case CONDITION_LESS: return value < c->bound;
        case CONDITION_MORE: return value > c->bound;
        case CONDITION_AT_MOST: return value <= c->bound;
        case CONDITION_AT_LEAST: return value >= c->bound;
        }
        return false;
}
