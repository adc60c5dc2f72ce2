#pragma once

#include <getopt.h>
#include <stdint.h>

#include "svmd.h"

/*
 * What the programs of the demo share. They talk to run.py in lines on standard output: a kind, then KEY=VALUE pairs,
 * of which text=... is the last and may have spaces.
 */
struct demo_options {
        const char *socket, *partition, *name;
        unsigned uid, gid, group;
};

/* The options that all of them take; `more` (may be NULL) is offered the letters that are not among these. Ends the
 * program on bad usage. */
typedef int (*demo_option_fn)(int letter, const char *value);
void demo_parse(struct demo_options *o, int argc, char **argv, const struct option *options, demo_option_fn more);
#define DEMO_OPTIONS                                                                                                   \
        { "socket", required_argument, NULL, 's' }, { "partition", required_argument, NULL, 'p' },                     \
                { "name", required_argument, NULL, 'n' }, { "uid", required_argument, NULL, 'u' },                     \
                { "gid", required_argument, NULL, 'g' }, {                                                             \
                "group", required_argument, NULL, 'G'                                                                  \
        }

/* Becomes that user for good, with `group` as the only other group, and connects. Ends the program if it cannot. */
svmd_session *demo_connect(const struct demo_options *o);

/* A line for run.py. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the program when `code` is one: "refused what=WHAT code=NAME text=SENTENCE", exit status 1. */
void must(int code, const char *what);
/* Says how an attempt that should fail ended: the same line, and the program goes on. */
void tell_refusal(int code, const char *what);
