#pragma once

#include <stdbool.h>
#include <syslog.h>

/*
 * Lines on standard error, with the <N> prefix that journald reads when it is the journal. Only main, transport and the
 * handlers of administrative changes log; libraries return errors.
 */
void log_set_level(int level); /* LOG_DEBUG ... LOG_ERR */
bool log_wants(int level);
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
