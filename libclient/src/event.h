#pragma once

#include "proto/svmd.pb-c.h"
#include "session.h"

/* An event that waits for the program. The strings are its own. */
struct event {
        struct event *next;
        struct svmd_event event;
        uint64_t reservation;
        char text[];
};

void event_init(svmd_session *s);
void event_fini(svmd_session *s);
/* All with `lock` held. */
void event_take(svmd_session *s, const Svmd__V1__Event *event);
void event_ended(svmd_session *s);
/* What an open reservation shows is to be looked up again: another session of this process no longer shows it. */
void event_refresh(svmd_session *s);
/* Something was taken in by a thread that is not in svmd_dispatch(). */
void event_wake(svmd_session *s);
