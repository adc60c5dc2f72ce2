#pragma once

#include <stdio.h>
#include <stdlib.h>

/* Without memory there is no page, and whoever asks next starts another exporter. */
static inline void *need(void *p) {
        if (p)
                return p;
        fputs("svmd-exporter: out of memory\n", stderr);
        exit(1);
}
