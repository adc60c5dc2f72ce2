#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int max_level = LOG_INFO;

void log_set_level(int level) {
        max_level = level;
}

bool log_wants(int level) {
        return level <= max_level;
}

void log_line(int level, const char *format, ...) {
        char text[1024];
        va_list ap;

        if (!log_wants(level))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (getenv("JOURNAL_STREAM"))
                fprintf(stderr, "<%d>%s\n", level, text);
        else
                fprintf(stderr, "svmd: %s\n", text);
}
