#pragma once

#include <stddef.h>

struct policy_profile;

/* The profile of that name, or that the file says: with a slash it is a path. 0, -ENOMEM, or 1: `why` says what was
 * expected, of a file as "FILE:LINE: what was expected". */
int profile_load(struct policy_profile *ret, const char *name, char *why, size_t why_size);
