#pragma once

#include <stddef.h>

struct config;
struct service_default_limit;
struct service_reloaded;

/* The configuration, read again with the arguments that svmd was started with: 0, or negative with a sentence: of a
 * file "FILE:LINE: what was expected". */
int reload_read(struct config **ret, int argc, char **argv, char *why, size_t why_size);
/* What can change now is exchanged between the two, and `ret` has the names of all that differs. */
void reload_exchange(struct config *c, struct config *next, struct service_reloaded *ret);
/* NULL is allowed. */
void reload_free(struct config *c);
/* The service's form of the default limits, whose names are the configuration's. NULL: out of memory. */
struct service_default_limit *reload_limits(const struct config *c);
