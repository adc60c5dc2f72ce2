#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/where.h"

/*
 * What containers are called. A control group has a container's number at most; its name and its pod's are known to the
 * runtime alone, which tells svmd-hook. That leaves a note in RUNTIME_DIR/containers, a file named after the number:
 *
 *      PID STARTED\n         the container's first process, and when it began (the 22nd field of /proc/PID/stat)
 *      NAME\n                each may be empty
 *      POD\n
 *      NAMESPACE\n
 *
 * written beside (its name begins with a dot) and renamed. The folder is svmd's, and root writes there; it goes with
 * the machine's memory, as containers do. A note whose process is gone is nobody's.
 */
#define CALLED_FOLDER "containers" /* in svmd's runtime directory */

struct called {
        uint32_t pid;
        uint64_t started;
        char name[WHERE_NAME], pod[WHERE_NAME], space[WHERE_NAME];
};

/* Makes the folder where it is missing: 0 or -errno. */
int called_make(const char *runtime_dir);

/* False: it is no such text. Pure. */
bool called_parse(const char *text, size_t size, struct called *ret);
/* Whether a note can have that name: one component, without a dot in front. */
bool called_name_ok(const char *id, size_t size);

/*
 * Looks for the note of the container that `w` is in. Where its path says nothing of a container, it is the one that is
 * otherwise known (`known`; "": none is), or one whose note has the name of a component, the innermost first. Nothing
 * changes where there is none.
 */
void called_look(const char *runtime_dir, struct where *w, const char *known);
/* Takes notes away whose process is gone. */
void called_sweep(const char *runtime_dir, const char *proc_root);
