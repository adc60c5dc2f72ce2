#pragma once

#include <stddef.h>

#include "proto/svmd.pb-c.h"

enum { ERROR_MAX = 512 };

/* Keep the sentence of a failure for svmd_error() of this thread, and return its code. */
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* SVMD_E_SYSTEM; the sentence ends with what errno `error` means. */
int fail_errno(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_memory(void);
/* What the daemon wrote, or the sentence of its code if it wrote nothing. 0 when the result is a success. */
int fail_result(const Svmd__V1__Result *result);

/* What a nested call does to svmd_error() must not show. */
void error_save(char text[ERROR_MAX]);
void error_restore(const char text[ERROR_MAX]);
