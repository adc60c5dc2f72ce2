#pragma once

#include <stdbool.h>
#include <stdio.h>

/* svmd-hook: what a runtime calls before a container starts and after it has ended. */
struct hook_options {
        bool attach;             /* else release */
        const char *runtime_dir; /* with svmd's sockets */
        const char *name;        /* of the partition; NULL: as annotated */
        bool mounts;             /* the runtime does not: the hook shows the folder at HOOK_FOLDER */
};

#define HOOK_FOLDER "/run/svmd" /* where libsvmd looks for a socket that it was told nothing of */

/* 0, or -1 and a sentence was written to `err`. The state is `size` bytes at `text`. */
int hook_run(const struct hook_options *o, const char *text, size_t size, FILE *err);
