#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* Reads files of lines "name value", as KFD's topology has them, and complains with file and line. */
enum { PROPERTY_NAME_MAX = 63, PROPERTIES_MAX = 1024, PROPERTIES_FILE_MAX = 1 << 20 };

/* Where the sentence about a failure goes. */
struct why {
        char *text;
        size_t size;
};

void why_say_malformed(struct why *why, const char *path, unsigned line, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
void why_say_system(struct why *why, const char *path, int error, const char *doing);

/* "PATH:LINE: expected ...", or without line when it is 0. Returns -EBADMSG, visibly to its callers' checkers. */
#define why_malformed(...) (why_say_malformed(__VA_ARGS__), -EBADMSG)

/* "PATH: cannot DOING: the system's text". Returns `error`, which is negative. */
static inline int why_system(struct why *why, const char *path, int error, const char *doing) {
        why_say_system(why, path, error, doing);
        return error;
}

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
static inline int properties_need(const struct properties *p, const char *name, const struct property **ret,
                                  struct why *why) {
        const struct property *property = properties_find(p, name);

        if (!property)
                return why_malformed(why, p->path, p->lines + 1, "a line \"%s NUMBER\" before the end of the file",
                                     name);
        *ret = property;
        return 0;
}
/* 0 when it is not there. */
uint64_t properties_value(const struct properties *p, const char *name);
