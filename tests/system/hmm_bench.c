#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "harness.h"
#include "hmm.h"

/* svmd's moves against the bare calls, one after the other on the same range. Medians; nothing is asserted of a time.
 */
enum { MIB = 16, ROUNDS = 15, PAGES = MIB * 256 };

static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *t) {
        qsort(t, ROUNDS, sizeof(*t), by_size);
        return t[ROUNDS / 2];
}

static void row(const char *name, double *ours, double *raw) {
        double a = median(ours), b = median(raw);

        printf("%-8s %7.1f ms a %d MiB, bare calls %7.1f ms, ratio %.2f (reach <= 1.15)\n", name, 1e3 * a, MIB, 1e3 * b,
               a / b);
}

void bench(svmd_session *s, const svmd_node *device, svmd_node host) {
        double out[ROUNDS], in[ROUNDS], raw_outs[ROUNDS], raw_ins[ROUNDS];
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_PRIVATE };
        size_t size = (size_t)PAGES * PAGE;
        void *buffer = malloc(size), *at;

        must(buffer);
        memset(buffer, 1, size);
        ok(svmd_address_reserve(s, &at, size, 0, NULL, &o));
        for (int i = 0; i < ROUNDS; i++) {
                double t[5];

                memset(at, i, size);
                t[0] = now();
                ok(svmd_migrate(s, NULL, at, size, device[0]));
                t[1] = now();
                ok(svmd_migrate(s, NULL, at, size, host));
                t[2] = now();
                out[i] = t[1] - t[0];
                in[i] = t[2] - t[1];
                memset(at, i, size);
                t[2] = now();
                must(raw_out(0, at, PAGES, buffer) == 0);
                t[3] = now();
                must(raw_in(0, at, PAGES) == 0);
                t[4] = now();
                raw_outs[i] = t[3] - t[2];
                raw_ins[i] = t[4] - t[3];
        }
        row("hmm_out", out, raw_outs);
        row("hmm_in", in, raw_ins);
        ok(svmd_address_free(s, at));
        free(buffer);
}
