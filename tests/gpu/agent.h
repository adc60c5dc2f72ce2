#pragma once

#include <sys/types.h>

/* A real svmd-cuda, with the libcuda.so.1 that this process has, and this process in the place of the service manager.
 */
struct agent {
        char dir[40], path[64];
        int listener;
        pid_t pid; /* 0: none runs */
};

/* Listens in a folder of its own, and starts nothing. */
void agent_listen(struct agent *a);
void agent_start(struct agent *a);
void agent_kill(struct agent *a);
void agent_close(struct agent *a);
