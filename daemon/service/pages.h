#pragma once

#include <stdint.h>

/*
 * Pages of a managed range that somebody may have mapped who has lost it. What lies in host memory moves to a device
 * once, which takes it out of every page table, and comes back only to who still has the range. Where no device has
 * room it stays. A range may have millions of granules: a turn of the loop looks at PAGES_LOOKED of them.
 */
struct reservation;
struct service;

enum { PAGES_LOOKED = 1024 };

struct pages_taken {
        uint64_t turns, most; /* turns of the loop that looked at granules, and the most that one has looked at */
};

/* From here on, in the next turns; from the start where that was under way. */
void pages_take(struct service *svc, const struct reservation *r);
void pages_collect(struct service *svc);
