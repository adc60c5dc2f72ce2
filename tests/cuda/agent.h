#pragma once

#include <sys/types.h>

/* A real svmd-cuda, and in the place of the service manager this process, which has the socket and starts the program.
 * What goes wrong ends the test's process, and says what it was. */
struct agent {
        char dir[32], path[64];
        int listener;
        pid_t pid; /* 0: none runs */
};

enum agent_library {
        AGENT_STANDIN, /* the stand-in libcuda.so.1 */
        AGENT_OWN,     /* the one that this process has */
        AGENT_NONE,
};

/* Listens in a folder of its own, and starts nothing. */
void agent_listen(struct agent *a);
/* `user`: who may ask, NULL: this one. `bytes`: what a stand-in's device has, NULL: 64 MiB. */
void agent_start(struct agent *a, const char *user, const char *bytes, enum agent_library library);
void agent_kill(struct agent *a);
/* It answers nothing from here on, until it is sent SIGCONT. */
void agent_stop(const struct agent *a);
/* NULL is allowed. */
void agent_close(struct agent *a);
