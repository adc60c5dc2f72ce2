#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Objects that are kept without users (core/keeping.h): when their time begins, how it ends, and what the journal has
 * of it. The clock is CLOCK_BOOTTIME: it is the same for every svmd of a boot, it runs while the machine sleeps, and
 * nobody sets it.
 */
struct call;
struct keeping;
struct partition;
struct reservation;
struct service;

/* In struct service. */
struct keepings {
        struct list ends; /* keeping.by_end: those whose time runs, the first to end first */
};

uint64_t keeping_now(const struct service *svc);

/* Each of these takes NULL for an object that is not kept, and journals what it changes, where that is not a replay. */
/* A user has left: if it was the last one, the time runs. */
void keeping_left(struct service *svc, struct keeping *k);
/* There is a user, who has committed himself. */
void keeping_used(struct keeping *k);
/* It is not kept any more, and ends if it has no users; the caller journals it. */
void keeping_end(struct service *svc, struct keeping *k);
/* Its object ends. */
void keeping_drop(struct keeping *k);

/* Those whose time is over end. */
void keepings_collect(struct service *svc);
/* All of a partition, or (NULL) of all: likewise, whether or not time is left. */
void keepings_end(struct service *svc, struct partition *p);
/* At the end of a replay: what has no users since the last svmd begins its time now. */
void keepings_restored(struct service *svc);

/* For rows: how long it has had no users (0: it has some), and what is left of its time (UINT64_MAX: none runs). */
uint64_t keeping_idle_ms(const struct service *svc, const struct keeping *k);
uint64_t keeping_left_ms(const struct service *svc, const struct keeping *k);
