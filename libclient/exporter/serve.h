#pragma once

#include <stddef.h>

#include "scrape.h"

struct serve_options {
        struct scrape_options scrape;
        unsigned ask_s;  /* svmd has so long to answer, or this process ends */
        unsigned idle_s; /* without a connection for so long it returns; 0: never */
        const int *fds;  /* that listen; they stay the caller's */
        size_t count;
};

/* Answers until it is idle or a signal ends it. 0, or -errno. */
int serve(const struct serve_options *o);
/* One page, and an exit status. */
int serve_once(const struct serve_options *o, int open_metrics);
