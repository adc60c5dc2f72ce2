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
#define FILTER_WITHOUT(arg, bits) FILTER_MASKED(arg, bits, 0)
#define FILTER_IS(number, value)                                                                                       \
        { .arg = (number), .op = SCMP_CMP_EQ, .datum_a = (value), .datum_b = 0 }
#define FILTER_MASKED(number, bits, value)                                                                             \
        { .arg = (number), .op = SCMP_CMP_MASKED_EQ, .datum_a = (bits), .datum_b = (value) }

/* As the functions of confine.h. */
int filter_install(const struct filter *f);
