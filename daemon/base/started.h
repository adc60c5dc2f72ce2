#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * When a process began, in ticks since the machine did. Numbers of processes are given again: a number and its start
 * are one process.
 */

/* In the text of /proc/PID/stat. False: it is not there, and `*ret` is untouched. */
bool started_parse(const char *stat, uint64_t *ret);
/* 0, or -errno: -ESRCH where there is no such process. */
int started_read(uint32_t pid, uint64_t *ret);
