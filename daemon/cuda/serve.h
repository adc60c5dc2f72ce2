#pragma once

#include <sys/types.h>

/* A connection, in a thread of its own; closes it. Of another user than this one and root: refused. */
void serve_start(int fd, uid_t user);
