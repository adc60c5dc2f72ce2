#include "huge_pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

static long before;
static pid_t asked; /* 0: nobody has */

long huge_pages_get(void) {
        FILE *f = fopen(NR_HUGEPAGES, "re");
        long n = 0;

        if (f) {
                if (fscanf(f, "%ld", &n) != 1)
                        n = 0;
                fclose(f);
        }
        return n;
}

void huge_pages_set(long n) {
        FILE *f = fopen(NR_HUGEPAGES, "we");

        if (f) {
                fprintf(f, "%ld\n", n);
                fclose(f);
        }
}

static void put_back(void) {
        if (getpid() == asked)
                huge_pages_set(before);
}

void huge_pages_want(long n) {
        if (!asked) {
                before = huge_pages_get();
                asked = getpid();
                atexit(put_back);
        }
        if (huge_pages_get() < n)
                huge_pages_set(n);
}
