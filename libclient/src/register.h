#pragma once

#include "session.h"

/* The process's own memory that this session has registered. */

/* The end of the session: svmd hears of none of it any more. */
void registrations_free(svmd_session *s);
