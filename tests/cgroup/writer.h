#pragma once

#include <sys/types.h>

/* A real svmd-cgroup without capabilities, and in the place of the service manager this process, which has the socket
 * and starts the program. */
struct writer {
        char path[108];
        int listener; /* -1: nobody listens */
        pid_t pid;    /* 0: none runs */
};

/* Listens, and starts nothing. */
void writer_listen(struct writer *w, const char *path);
/* `user` may ask, and nobody for `idle` seconds ends it ("0": never). */
void writer_start(struct writer *w, const char *root, const char *user, const char *idle);
void writer_kill(struct writer *w);
/* Until it has ended by itself: how. */
int writer_wait(struct writer *w);
void writer_close(struct writer *w);
