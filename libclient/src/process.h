#pragma once

#include <stdbool.h>

#include "session.h"

/*
 * What the sessions of this process share: the list of them, and the slices of addresses. One lock guards both; it is
 * held over fork(), together with every session's lock.
 */
void process_lock(void);
void process_unlock(void);
/* What is mapped of managed ranges: see managed.h. Not held over fork(), which would wait for svmd. */
void managed_lock(void);
void managed_unlock(void);
/* With the lock held. The first one also registers the handlers of fork(). */
void process_add(svmd_session *s);
void process_remove(svmd_session *s);

/* Reserves the slice that s->info names, or shares it with the sessions of this process that have it. `kept`: the
 * caller has reserved it. */
int slice_get(svmd_session *s, bool kept);
/* With the lock held. True when the slice, and all that was mapped in it, is gone. */
bool slice_put(svmd_session *s);
/* With the lock held: whether other sessions have it too. */
bool slice_is_shared(const svmd_session *s);
/* In the child of a fork: no slice is mapped any more. */
void slice_forget_all(void);

/* With the lock held: decides which session of the process shows a reservation that several of them have. */
void slice_claim(svmd_session *s, struct reservation *r);
/* True when another one took over what is mapped. */
bool slice_release(svmd_session *s, const struct reservation *r);

/* Of the other sessions that have the slice: the first with a managed reservation that overlaps `r` and is as wanted.
 * NULL: none. With the lock of managed ranges held, until which is let go it stays; not with that of the process. */
typedef bool (*slice_wanted_fn)(const struct reservation *theirs, const struct reservation *r);
struct reservation *slice_managed(svmd_session *s, const struct reservation *r, slice_wanted_fn wanted,
                                  svmd_session **ret);
