#pragma once

#include <stddef.h>
#include <stdint.h>

/* Reads files of lines "name value", as KFD's topology has them, and complains with file and line. */
enum { PROPERTY_NAME_MAX = 63, PROPERTIES_MAX = 1024, PROPERTIES_FILE_MAX = 1 << 20 };

/* Where the sentence about a failure goes. */
struct why {
        char *text;
        size_t size;
};

/* "PATH:LINE: expected ...", or without line when it is 0. Returns -EBADMSG. */
int why_malformed(struct why *why, const char *path, unsigned line, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* "PATH: ...: the system's text". Returns `error`, which is negative. */
int why_system(struct why *why, const char *path, int error, const char *doing);

struct property {
        char name[PROPERTY_NAME_MAX + 1];
        uint64_t value;
        unsigned line;
};

struct properties {
        char *path;
        struct property *list;
        unsigned count;
        unsigned lines;
};

/* All of a file, with a 0 behind it; at most PROPERTIES_FILE_MAX bytes. The caller frees it with alloc_free(). */
int file_read(char **ret, size_t *ret_size, const char *path, struct why *why);

/* Each line must be a name of [a-z0-9_], one space and a number of 64 bits; no name twice. */
int properties_read(struct properties *ret, const char *path, struct why *why);
void properties_fini(struct properties *p);

/* NULL: it is not there. */
const struct property *properties_find(const struct properties *p, const char *name);
/* Complains when it is not there. */
int properties_need(const struct properties *p, const char *name, const struct property **ret, struct why *why);
/* 0 when it is not there. */
uint64_t properties_value(const struct properties *p, const char *name);
