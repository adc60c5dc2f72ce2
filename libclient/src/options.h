#pragma once

#include <stddef.h>

/*
 * Structs of options and results begin with their size, so that program and library may be of different versions.
 * options_take() copies the caller's options (NULL: all zero) into `known` bytes at `ret`; what this library does not
 * know must be zero. options_give() copies what fits of a result into the caller's struct.
 */
int options_take(void *ret, size_t known, const void *given, const char *what);
int options_give(void *ret, const void *result, size_t known, const char *what);
