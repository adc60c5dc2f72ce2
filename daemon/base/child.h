#pragma once

#include <sys/types.h>

/*
 * Starts a program in a group of its own, with nothing but what it is given: /dev/null to read, `out` to write, no
 * words of its own to be seen, and signals as they are by default. 0 or negative errno.
 */
int child_spawn(const char *program, char *const argv[], int out, pid_t *ret);
/* It and all that it started are ended, and it is waited for. */
void child_end(pid_t pid);
