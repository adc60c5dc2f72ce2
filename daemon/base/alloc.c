#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local unsigned long fail_countdown; /* 0: off */
static _Thread_local int fail_hit;

int alloc_refused(void) {
        if (fail_countdown == 0)
                return 0;
        if (fail_countdown > 1) {
                fail_countdown--;
                return 0;
        }
        fail_hit = 1;
        return 1;
}

void *alloc_zero(size_t size) {
        return alloc_refused() ? NULL : calloc(1, size);
}

void *alloc_array(size_t count, size_t size) {
        return alloc_refused() ? NULL : calloc(count, size);
}

void *alloc_grow(void *old, size_t old_size, size_t new_size) {
        char *p;

        if (alloc_refused())
                return NULL;
        p = realloc(old, new_size);
        if (p && new_size > old_size)
                memset(p + old_size, 0, new_size - old_size);
        return p;
}

char *alloc_string(const char *s) {
        return alloc_refused() ? NULL : strdup(s);
}

void *alloc_block(size_t size) {
        return aligned_alloc(size, size);
}

void alloc_free(void *p) {
        free(p);
}

void alloc_fail_at(unsigned long countdown) {
        fail_countdown = countdown;
        fail_hit = 0;
}

void alloc_fail_off(void) {
        fail_countdown = 0;
}

int alloc_fail_hit(void) {
        return fail_hit;
}
