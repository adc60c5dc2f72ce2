#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ctl;

/*
 * Something that is asked in a child of its own, so that whatever does not answer, or says too much, costs a report
 * that part alone.
 */
struct part_result {
        char *text; /* malloc()ed, ended by a NUL that is not part of `size` */
        size_t size;
        char note[160]; /* what went wrong, or "" */
};

enum { PART_MOST = 1 << 20, PART_MS = 10000 };

/* Another verb of svmd-ctl, over the same sockets. `line`: words with single spaces between. */
void part_verb(struct ctl *c, const char *line, struct part_result *ret);
/* A program with its arguments, by $PATH. */
void part_command(const char *const *words, struct part_result *ret);
/* The first PART_MOST bytes of a file. */
void part_file(const char *path, struct part_result *ret);
/* What `write` writes, which has no session yet. Its return value is an exit status. */
void part_own(struct ctl *c, int (*write)(struct ctl *c, FILE *out), struct part_result *ret);
