#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void must(bool ok, const char *format, ...) {
        int error = errno;
        va_list ap;

        if (ok)
                return;
        va_start(ap, format);
        fprintf(stderr, "%s: ", program_invocation_short_name);
        vfprintf(stderr, format, ap);
        fprintf(stderr, " (%s)\n", strerror(error));
        va_end(ap);
        exit(1);
}

uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t random_below(uint64_t bound) {
        static uint64_t state = 0x9e3779b97f4a7c15ull;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % bound;
}

void pin_to(unsigned nth) {
        static cpu_set_t all;
        cpu_set_t one;

        if (CPU_COUNT(&all) == 0)
                must(sched_getaffinity(0, sizeof(all), &all) == 0, "the CPUs of this process are not known");
        nth %= (unsigned)CPU_COUNT(&all);
        CPU_ZERO(&one);
        for (unsigned cpu = 0; CPU_COUNT(&one) == 0; cpu++)
                if (CPU_ISSET(cpu, &all) && nth-- == 0)
                        CPU_SET(cpu, &one);
        must(sched_setaffinity(0, sizeof(one), &one) == 0, "this process cannot be bound to one CPU");
}

uint64_t anonymous_bytes(pid_t pid) {
        uint64_t kib = 0;
        char line[256];
        FILE *f;

        snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
        f = fopen(line, "re");
        must(f != NULL, "%s cannot be read", line);
        while (fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %" SCNu64, &kib) != 1)
                ;
        fclose(f);
        must(kib > 0, "/proc/%d/status says nothing of RssAnon", (int)pid);
        return kib * 1024;
}

uint64_t cpu_ns(pid_t pid) {
        uint64_t sum = 0;
        char path[320];
        struct dirent *e;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
        d = opendir(path);
        must(d != NULL, "%s cannot be read", path);
        while ((e = readdir(d))) {
                uint64_t ns = 0;
                FILE *f;

                snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
                f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
                if (!f)
                        continue;
                must(fscanf(f, "%" SCNu64, &ns) == 1, "%s says nothing", path);
                fclose(f);
                sum += ns;
        }
        closedir(d);
        return sum;
}

void row_add(struct row *r, double value, double limit) {
        must(r->runs < BENCH_RUNS_MAX, "row %s has more runs than fit in", r->name);
        r->value[r->runs] = value;
        r->limit[r->runs++] = limit;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(const double *sorted, int n) {
        return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

void row_print(struct row *r) {
        bool limited = r->limit[0] > 0;
        double range[BENCH_RUNS_MAX];

        for (int i = 0; i < r->runs; i++)
                range[i] = limited ? r->value[i] / r->limit[i] : r->value[i];
        qsort(range, (size_t)r->runs, sizeof(double), compare);
        qsort(r->value, (size_t)r->runs, sizeof(double), compare);
        qsort(r->limit, (size_t)r->runs, sizeof(double), compare);
        printf("{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\", ", r->name, median(r->value, r->runs), r->unit);
        if (limited)
                printf("\"limit\": %.1f, \"ratio\": %.3f, ", median(r->limit, r->runs), median(range, r->runs));
        else
                printf("\"limit\": null, \"ratio\": null, ");
        printf("\"min\": %.3f, \"max\": %.3f, \"runs\": %d}\n", range[0], range[r->runs - 1], r->runs);
        fflush(stdout);
}
