#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * What lasts for a while, and is told when it begins and when it ends: rows of a table, each known by its subject.
 *
 *      free --told_meet--> lasts --a look that did not meet it--> ends() --> free
 */
struct service;

/* The first member of each row. */
struct told {
        char subject[256]; /* "": the row is free */
        bool met;          /* by the look that is being told */
};

struct told_rows {
        void *rows;
        size_t count, size; /* size: of a row */
};

#define TOLD_ROWS(array) ((struct told_rows){ (array), sizeof(array) / sizeof((array)[0]), sizeof((array)[0]) })

/* The row of that subject, or a new one. NULL: there is no more room, and it is not told. */
struct told *told_meet(struct told_rows t, const char *subject, bool *ret_new);
/* A look is over: `ends` tells of what it has not met, which is no more then. */
void told_end(struct service *svc, struct told_rows t, void (*ends)(struct service *svc, const struct told *row));
