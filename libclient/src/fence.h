#pragma once

#include "proto/svmd.pb-c.h"
#include "session.h"

/* One that no operation has yet; `notify`: with an eventfd. */
int fence_new(svmd_session *s, bool notify, struct svmd_fence **ret);
/* No list has it. */
void fence_destroy(struct svmd_fence *f);
/* Who has waited for it maps what then lies on that node: cuda_managed_map(). */
void fence_shows(struct svmd_fence *f, uint64_t address, uint64_t size, svmd_node node);
/* svmd_fence_wait(), but events that come meanwhile wait for the end of the call that this is part of. */
int fence_wait(struct svmd_fence *f, int timeout_ms, struct svmd_fence_result *ret);

/* With the session's `lock` held. */
/* The operation has this fence; 0: there was nothing to do, and it is done. */
void fence_link(svmd_session *s, struct svmd_fence *f, uint64_t id);
/* What is not pending is passed over: the program may have freed it. */
void fence_done(svmd_session *s, uint64_t id, const Svmd__V1__FenceResult *result);
void fence_failed(svmd_session *s, uint64_t id, int code, const char *text);
void fence_end_all(svmd_session *s, int code, const char *text);

/* At the end of the session, alone with it. */
void fence_free_all(svmd_session *s);
