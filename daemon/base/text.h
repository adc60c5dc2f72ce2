#pragma once

#include <stdio.h>

/* Into an array, cut to what it holds. */
#define text_copy(array, text) ((void)snprintf((array), sizeof(array), "%s", (text)))
