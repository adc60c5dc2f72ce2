#pragma once

#include <stddef.h>

/* Puts a sentence for a person into `why`, cut to what it holds, and returns `outcome`. */
int complain(char *why, size_t size, int outcome, const char *format, ...) __attribute__((format(printf, 4, 5)));
