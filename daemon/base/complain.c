#include "base/complain.h"

#include <stdarg.h>
#include <stdio.h>

int complain(char *why, size_t size, int outcome, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(why, size, format, ap);
        va_end(ap);
        return outcome;
}
