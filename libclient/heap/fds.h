#pragma once

enum { FD_ROOM = 64 };
/* The first number of those that belong to the session. */
int fds_from(void);
