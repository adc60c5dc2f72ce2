#pragma once

#include "residency.h"
#include "target.h"

struct args;

/*
 * A change of where pages are, from what was typed to what came of it. Before it and after it svmd is asked where the
 * pages are; the difference is what is told, whether the change succeeded, failed in the middle or took too long.
 */
struct change {
        const char *name;                 /* for scripts: "migrate" */
        const char *done, *would, *doing; /* "Moved", "Would move", "moving" */
        const char *question;             /* asked on a terminal, with what it is about behind it; NULL: no question */
        const char *tail;                 /* " to gpu0" */
        const char *after;                /* a sentence to end with when all is done; may be NULL */
        int (*start)(struct ctl *c, const struct change *ch, svmd_fence **ret);
        /* How much of it is still to be changed. */
        uint64_t (*left)(const struct change *ch, const struct residency_rows *now);

        struct target target;
        struct node_rows nodes;
        const struct svmd_node_row *node; /* where to; may be NULL */
        struct residency_rows before;     /* set by change_run() */
};

/* Carries it out, as --dry-run, --yes and --timeout say. Returns an exit status. */
int change_run(struct ctl *c, const struct args *a, struct change *ch);
