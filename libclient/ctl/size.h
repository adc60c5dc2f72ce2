#pragma once

#include <stdint.h>

enum { SIZE_TEXT = 32 };

enum {
        _SIZE_E_OK,
        SIZE_E_TEXT,     /* not a number with one of the units */
        SIZE_E_DECIMAL,  /* KB, MB ...: units of 1000, which nothing here is a multiple of */
        SIZE_E_RANGE,    /* does not fit 64 bits */
        SIZE_E_FRACTION, /* not a whole number of bytes */
};

/* "4096", "4K", "1.5GiB", "2 tib" -> bytes; units are powers of 1024. */
int size_parse(const char *text, uint64_t *ret);
/* What to tell the person, given what size_parse() returned. */
const char *size_problem(int outcome);
/* At most one decimal: "0", "1.5 GiB", "17 B". */
void size_format(char text[SIZE_TEXT], uint64_t bytes);
/* "12,345" */
void count_format(char text[SIZE_TEXT], uint64_t n);
/* A whole decimal number: 0, or _SIZE_E_TEXT, or SIZE_E_RANGE. */
int count_parse(const char *text, uint64_t *ret);
/* Seconds with up to 9 decimals -> nanoseconds. */
int seconds_parse(const char *text, uint64_t *ret_ns);
