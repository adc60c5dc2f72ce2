#pragma once

#include <stdio.h>
#include <unistd.h>

#include "svmd.h"

/* What a client on an emulated machine wants to be so. */
#define must(what)                                                                                                     \
        do {                                                                                                           \
                if (!(what)) {                                                                                         \
                        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #what, svmd_error());                   \
                        _exit(1);                                                                                      \
                }                                                                                                      \
        } while (0)
