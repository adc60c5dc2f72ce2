#pragma once

#include "proto/svmd.pb-c.h"
#include "session.h"

/* All with the session's `lock` held. */
void fence_link(svmd_session *s, struct svmd_fence *f, uint64_t id);
/* What is not pending is passed over: the program may have freed it. */
void fence_done(svmd_session *s, uint64_t id, const Svmd__V1__FenceResult *result);
void fence_failed(svmd_session *s, uint64_t id, int code, const char *text);
void fence_end_all(svmd_session *s, int code, const char *text);
void fence_free_all(svmd_session *s);
