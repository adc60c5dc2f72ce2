#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The daemon of a benchmark, killed and started again as it was started first. */
struct restart {
        const char *runtime_dir;
        pid_t pid;
        char line[8192]; /* its arguments, ended by zeroes */
        char *arguments[64];
        bool mine; /* started here */
};

void restart_begin(struct restart *d, const char *runtime_dir, pid_t pid);
/* SIGKILL, and it has ended. */
void restart_kill(struct restart *d);
/* Starts it on the daemons' CPU, and returns when it has been started; this process is on the client's CPU then. ns. */
uint64_t restart_start(struct restart *d);
/* SIGINT, and it has ended, as its keeper does. */
void restart_end(struct restart *d);
/* What the journal of a dead one takes to be read, and nothing else: checked and every effect looked at; ns. */
double restart_journal_ns(const struct restart *d);
