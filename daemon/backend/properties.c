#include "backend/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

void why_say_malformed(struct why *why, const char *path, unsigned line, const char *format, ...) {
        char at[16] = "";
        va_list args;
        int n;

        if (line > 0)
                snprintf(at, sizeof(at), ":%u", line);
        n = snprintf(why->text, why->size, "%s%s: expected ", path, at);
        if (n >= 0 && (size_t)n < why->size) {
                va_start(args, format);
                vsnprintf(why->text + n, why->size - (size_t)n, format, args);
                va_end(args);
        }
}

void why_say_system(struct why *why, const char *path, int error, const char *doing) {
        snprintf(why->text, why->size, "%s: cannot %s: %s", path, doing, strerror(-error));
}

/* Reads until the end, or until one byte more than may be there. */
static int read_all(int fd, char **text, size_t *ret_size) {
        size_t room = 0, size = 0;

        for (;;) {
                ssize_t n;

                if (size + 1 >= room) {
                        size_t more = room ? room * 2 : 4096;
                        char *grown = alloc_grow(*text, room, more);

                        if (!grown)
                                return -ENOMEM;
                        *text = grown;
                        room = more;
                }
                n = read(fd, *text + size, room - size - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                size += (size_t)n;
                if (n == 0 || size > PROPERTIES_FILE_MAX)
                        break;
        }
        (*text)[size] = '\0';
        *ret_size = size;
        return 0;
}

int file_read(char **ret, size_t *ret_size, const char *path, struct why *why) {
        char *text = NULL;
        size_t size = 0;
        int fd, r;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return why_system(why, path, -errno, "open it");
        r = read_all(fd, &text, &size);
        close(fd);
        if (r < 0)
                r = why_system(why, path, r, "read it");
        else if (size > PROPERTIES_FILE_MAX)
                r = why_malformed(why, path, 0, "a file of at most %d bytes", PROPERTIES_FILE_MAX);
        if (r < 0) {
                alloc_free(text);
                return r;
        }
        *ret = text;
        *ret_size = size;
        return 0;
}

static bool is_name(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Digits only, so that neither a sign nor another base gets in. */
static bool parse_number(const char *s, size_t size, uint64_t *ret) {
        uint64_t value = 0;

        for (size_t i = 0; i < size; i++) {
                if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(s[i] - '0'), &value))
                        return false;
        }
        *ret = value;
        return size > 0;
}

static int parse_line(struct properties *p, const char *line, size_t size, struct why *why) {
        struct property *property = &p->list[p->count];
        size_t name = 0;

        while (name < size && name <= PROPERTY_NAME_MAX && is_name(line[name]))
                name++;
        if (name == 0 || name > PROPERTY_NAME_MAX || name == size || line[name] != ' ')
                return why_malformed(why, p->path, p->lines, "\"name value\", with a name of [a-z0-9_] and one space");
        if (!parse_number(line + name + 1, size - name - 1, &property->value))
                return why_malformed(why, p->path, p->lines, "a number from 0 to 2^64-1 after \"%.*s\"", (int)name,
                                     line);
        memcpy(property->name, line, name);
        property->name[name] = '\0';
        property->line = p->lines;
        for (unsigned i = 0; i < p->count; i++)
                if (strcmp(p->list[i].name, property->name) == 0)
                        return why_malformed(why, p->path, p->lines, "\"%s\" once; it stands on line %u already",
                                             property->name, p->list[i].line);
        p->count++;
        return 0;
}

static int parse(struct properties *p, const char *text, size_t size, struct why *why) {
        size_t at = 0;
        int r = 0;

        while (r == 0 && at < size) {
                const char *end = memchr(text + at, '\n', size - at);
                size_t length = end ? (size_t)(end - text) - at : size - at;

                p->lines++;
                if (p->count >= PROPERTIES_MAX)
                        return why_malformed(why, p->path, p->lines, "at most %d lines", PROPERTIES_MAX);
                r = parse_line(p, text + at, length, why);
                at += length + 1;
        }
        return r;
}

static unsigned count_lines(const char *text, size_t size) {
        unsigned n = 1;

        for (size_t i = 0; i < size && n < PROPERTIES_MAX; i++)
                n += text[i] == '\n';
        return n;
}

int properties_read(struct properties *ret, const char *path, struct why *why) {
        struct properties p = { 0 };
        char *text = NULL;
        size_t size = 0;
        int r;

        r = file_read(&text, &size, path, why);
        if (r < 0)
                return r;
        p.path = alloc_string(path);
        p.list = alloc_array(count_lines(text, size), sizeof(*p.list));
        r = p.path && p.list ? parse(&p, text, size, why) : why_system(why, path, -ENOMEM, "read it");
        alloc_free(text);
        if (r < 0)
                properties_fini(&p);
        else
                *ret = p;
        return r;
}

void properties_fini(struct properties *p) {
        alloc_free(p->path);
        alloc_free(p->list);
        *p = (struct properties){ 0 };
}

const struct property *properties_find(const struct properties *p, const char *name) {
        for (unsigned i = 0; i < p->count; i++)
                if (strcmp(p->list[i].name, name) == 0)
                        return &p->list[i];
        return NULL;
}

uint64_t properties_value(const struct properties *p, const char *name) {
        const struct property *property = properties_find(p, name);

        return property ? property->value : 0;
}
