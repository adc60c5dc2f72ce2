#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/status.h"
#include "svmd.h"

static _Thread_local char error_text[ERROR_MAX] = "no call of this thread has failed";

int fail(int code, const char *format, ...) {
        va_list args;

        va_start(args, format);
        vsnprintf(error_text, sizeof(error_text), format, args);
        va_end(args);
        return code;
}

int fail_errno(int error, const char *format, ...) {
        va_list args;
        size_t used;

        va_start(args, format);
        vsnprintf(error_text, sizeof(error_text), format, args);
        va_end(args);
        used = strlen(error_text);
        snprintf(error_text + used, sizeof(error_text) - used, ": %s", strerrordesc_np(error) ?: "unknown error");
        return SVMD_E_SYSTEM;
}

int fail_memory(void) {
        return fail(SVMD_E_NO_MEMORY, "this process is out of memory");
}

int fail_result(const Svmd__V1__Result *result) {
        if (!result->code)
                return 0;
        return fail((int)result->code, "%s", result->text[0] ? result->text : status_text(result->code));
}

void error_save(char text[ERROR_MAX]) {
        memcpy(text, error_text, ERROR_MAX);
}

void error_restore(const char text[ERROR_MAX]) {
        memcpy(error_text, text, ERROR_MAX);
}

const char *svmd_error(void) {
        return error_text;
}

const char *svmd_status_name(int code) {
        return status_name((unsigned)code);
}

const char *svmd_version(void) {
        return SVMD_VERSION;
}
