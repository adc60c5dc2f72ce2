#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the programs of the benchmark share. A failure prints a sentence and ends the program. */

enum { BENCH_RUNS_MAX = 64 };

/* A row: a value a run, and what bounds it, measured in the same run. Rows without a limit have limit 0. */
struct row {
        const char *name, *unit;
        int runs;
        double value[BENCH_RUNS_MAX], limit[BENCH_RUNS_MAX];
};

void row_add(struct row *r, double value, double limit);
/* One line of JSON, with medians; what is asked of the row is added by run.py. */
void row_print(struct row *r);

void must(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t now_ns(void);
uint64_t random_below(uint64_t bound);
/* This process and what it starts run on one CPU: the `nth` of those that it was started with, modulo their number. */
void pin_to(unsigned nth);
/* Bytes of anonymous memory that a process has in RAM. */
uint64_t anonymous_bytes(pid_t pid);
/* CPU time that all threads of a process have had. */
uint64_t cpu_ns(pid_t pid);
