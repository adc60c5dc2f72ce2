#pragma once

#include <stdbool.h>
#include <stdio.h>

struct policy_profile;

/* svmd-sim --synthetic: a table or JSON, a row a size. Returns the exit status. */
int synthetic_run(const char *text, const struct policy_profile *profile, bool json, FILE *out, FILE *err);
