#pragma once

#include <stddef.h>
#include <stdint.h>

#include <seccomp.h>

/* How lists of calls become a filter. Names that this machine's kernel interface has not are left out. */
enum { FILTER_CONDITIONS = 2 };

struct filter_call {
        const char *name;
        unsigned count; /* of conditions, which must all hold */
        struct scmp_arg_cmp conditions[FILTER_CONDITIONS];
};

struct filter {
        uint32_t otherwise; /* SCMP_ACT_... of what is not listed */
        const char *const *names;
        size_t names_count;
        const struct filter_call *calls;
        size_t calls_count;
};

/* Of conditions. */
#define FILTER_WITHOUT(arg, bits) SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, (bits), 0)
#define FILTER_IS(arg, value)     SCMP_CMP64(arg, SCMP_CMP_EQ, (value))

/* As the functions of confine.h. */
int filter_install(const struct filter *f);
