#pragma once

#include <stdint.h>

/* The bytes of the character at `at`, and which it is; 0: it is no UTF-8. `at` is not at the end of the text. */
unsigned utf8_decode(const char *at, uint32_t *ret);
