#pragma once

#include <stddef.h>

#include "policy/compile.h"

/*
 * Every word that GPU interfaces have for what svmd calls advice, and the svmd call that says the same. Kept by hand
 * from their documentation; numbers are theirs.
 */
struct advice_row {
        enum policy_dialect api;
        const char *name;
        const char *number; /* as its interface has it, "" where it is a function */
        const char *call;   /* svmd's */
        /* What that call asks for; none: it is no advice, and `call` says what it is instead. */
        struct policy_wish wishes[2];
        unsigned wishes_count;
        /* What compiling the first wish for its own interface must give: a step of this type, with this argument. -1:
         * that interface gets something else, and `differs` says what. */
        long type, argument;
        const char *differs;
};

extern const struct advice_row advice_rows[];
extern const size_t advice_rows_count;

/* The node of the table's columns: a device that has all there is to have. */
void advice_target(enum policy_dialect dialect, struct policy_target *ret);
enum { ROW_DEVICE = 1, ROW_OTHER = 2 };
