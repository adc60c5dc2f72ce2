#pragma once

#include "proto/uapi/dmirror.h"

/* The system call of hmm.c: 0 or -errno. Tests of machines without the device put their own in its place, and nobody
 * else does. */
extern int (*hmm_call)(int fd, unsigned long request, struct dmirror_cmd *cmd);
