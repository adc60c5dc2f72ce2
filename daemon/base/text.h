#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Into an array, cut to what it holds. */
#define text_copy(array, text) ((void)snprintf((array), sizeof(array), "%s", (text)))

/* "1.5 GiB". */
void text_bytes(char *out, size_t size, uint64_t bytes);
