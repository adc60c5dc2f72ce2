#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A real svmd-cuda with the stand-in libcuda.so.1, and in the place of the service manager this process, which has the
 * socket and starts the program. */
struct agent {
        char dir[32], path[64];
        int listener;
        pid_t pid; /* 0: none runs */
};

/* Listens in a folder of its own, and starts nothing. */
void agent_listen(struct agent *a);
/* `user`: who may ask, NULL: this one. `bytes`: what the device has, NULL: 64 MiB. `library`: false: there is none. */
void agent_start(struct agent *a, const char *user, const char *bytes, bool library);
void agent_kill(struct agent *a);
/* NULL is allowed. */
void agent_close(struct agent *a);
