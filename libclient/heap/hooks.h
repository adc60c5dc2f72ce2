#pragma once

#include <stdbool.h>

/* From now on jemalloc takes its extents from segments. False: it does not. */
bool hooks_install(void);
