#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/kept.h"

/*
 * All that one svmd-keeper leaves to the program that it becomes: which descriptor is what. The descriptors themselves
 * pass on by being open; this is written into a file in memory, whose number the new program is told.
 *
 * A version is never changed. A program says with --check-takeover which versions it reads, and is not begun otherwise.
 */
#define TABLE_VERSION 1
#define TABLE_OLDEST  1

struct table {
        int listener, lock, client; /* client -1: nobody is connected */
        pid_t client_pid;
        struct kept kept;
};

/* A file with it, which stays open over exec; or negative errno. */
int table_write(const struct table *t);
/* Takes over what the table in `fd` names, and closes `fd`. -EPROTO: it is none that this program reads. */
int table_read(struct table *t, int fd);
/* Whether all that it names stays open over exec. */
int table_pass_on(const struct table *t, bool on);
