#pragma once

#include "account/dmem.h"

/* svmd's side of svmd-cgroup, which may write where svmd may not. */
enum {
        _CGROUP_E_OK,
        CGROUP_E_NONE,   /* nobody listens at the socket */
        CGROUP_E_SILENT, /* it has not answered within a second, or ended instead; it may have written */
};

/* Has the line written to the group's file. `root` is the folder that the path begins at. Waits for a second at most at
 * each step, so it is for a job's thread. 0, an outcome, or -errno: also why it refused, or could not write. */
int cgroup_ask(const char *socket_path, const char *root, const char *group, enum dmem_value file, const char *line);
