#pragma once

#include "base/list.h"

/*
 * Walks over all sessions in slices of a loop's turn. One that ends meanwhile is passed over, one that begins may
 * be met.
 */
struct service;
struct session;

struct session_walk {
        struct list link;   /* in svc->walks, while it is under way */
        struct session *at; /* the next one; NULL: all have been */
};

/* Also from the middle of one that is under way. */
void walk_begin(struct service *svc, struct session_walk *w);
/* NULL: that was all, and the walk has ended. */
struct session *walk_next(struct service *svc, struct session_walk *w);
/* Of one that has ended, or that never began in memory of zeros, too. */
void walk_end(struct session_walk *w);
/* The session ends. */
void walks_pass(struct service *svc, const struct session *s);
