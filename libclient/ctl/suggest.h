#pragma once

#include <stddef.h>

/* The least number of letters to add, drop, change or swap with their neighbour. Letters beyond the 63rd are not
 * looked at. */
unsigned suggest_distance(const char *a, const char *b);
/* The candidate that `word` is most likely a slip for, or NULL when none is near: the first of the nearest. */
const char *suggest(const char *word, const char *const *candidates, size_t count);
