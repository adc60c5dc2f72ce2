/*
 * The kernel takes some 30 ms to end an AIO context, and a service has one. A target that starts a service for each
 * input would do nothing else, so ended contexts are given to the next service: linked with --wrap=syscall.
 */
#include <stdarg.h>
#include <sys/syscall.h>

#include "fuzz.h"

enum { SPARE = 8 };

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static unsigned long spare[SPARE];
static unsigned spare_count;

/* It passes on six arguments, of which fewer may be there. */
__attribute__((no_sanitize_address)) long __wrap_syscall(long number, ...) {
        unsigned long a[6];
        va_list ap;

        va_start(ap, number);
        for (unsigned i = 0; i < 6; i++)
                a[i] = va_arg(ap, unsigned long);
        va_end(ap);
        if (number == SYS_io_setup && spare_count > 0) {
                *(unsigned long *)a[1] = spare[--spare_count];
                return 0;
        }
        if (number == SYS_io_destroy && spare_count < SPARE) {
                spare[spare_count++] = a[0];
                return 0;
        }
        return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
