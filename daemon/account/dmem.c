#include "account/dmem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account/report.h"

enum { TEXT_ROOM = 16384, PATH_ROOM = 5120, PAGE = 4096 };

/* ---- pure ---- */

struct text {
        const char *at;
        size_t size;
};

/* Takes the first line off. False: there is none. */
static bool next_line(struct text *t, struct text *ret) {
        const char *newline;

        if (t->size == 0)
                return false;
        newline = memchr(t->at, '\n', t->size);
        *ret = (struct text){ t->at, newline ? (size_t)(newline - t->at) : t->size };
        t->at += ret->size + (newline != NULL);
        t->size -= ret->size + (newline != NULL);
        return true;
}

/* How long the region's name is, where the line is of it; 0: it is not. */
static size_t names(struct text line, const char *region) {
        size_t n = strlen(region);

        return line.size > n && memcmp(line.at, region, n) == 0 && line.at[n] == ' ' ? n : 0;
}

bool dmem_find(const char *text, size_t size, const char *region, uint64_t *ret) {
        struct text rest = { text, size }, line;

        while (next_line(&rest, &line)) {
                size_t n = names(line, region);

                if (!n)
                        continue;
                if (line.size == n + 4 && memcmp(line.at + n, " max", 4) == 0) {
                        *ret = DMEM_NO_LIMIT;
                        return true;
                }
                return report_number(line.at + n, line.size - n, ret);
        }
        return false;
}

static void put(char *to, size_t room, size_t *length, const char *from, size_t size) {
        if (*length < room)
                memcpy(to + *length, from, size < room - *length ? size : room - *length);
        *length += size;
}

size_t dmem_replace(const char *text, size_t size, const char *line, char *to, size_t room) {
        struct text rest = { text, size }, old;
        const char *space = strchr(line, ' ');
        size_t name = space ? (size_t)(space - line) : 0, length = 0;

        while (next_line(&rest, &old)) {
                if (name && old.size > name && memcmp(old.at, line, name + 1) == 0)
                        continue;
                put(to, room, &length, old.at, old.size);
                put(to, room, &length, "\n", 1);
        }
        put(to, room, &length, line, strlen(line));
        return length;
}

int dmem_line(char *to, size_t room, const char *region, uint64_t value) {
        return value == DMEM_NO_LIMIT ? snprintf(to, room, "%s max\n", region)
                                      : snprintf(to, room, "%s %" PRIu64 "\n", region, value);
}

uint64_t dmem_rounded(uint64_t value) {
        return value == DMEM_NO_LIMIT ? value : value / PAGE * PAGE;
}

/* ---- files ---- */

static const char *const files[DMEM_VALUES] = { "dmem.max", "dmem.low", "dmem.min" };

static bool path_of(char path[PATH_ROOM], const char *root, const char *group, const char *file) {
        return group[0] == '/' && !strstr(group, "/..") &&
               snprintf(path, PATH_ROOM, "%s%s/%s", root, strcmp(group, "/") == 0 ? "" : group, file) < PATH_ROOM;
}

static ssize_t read_text(const char *path, char text[TEXT_ROOM]) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error;
        ssize_t k = 1, n = 0;

        if (fd < 0)
                return -errno;
        while (n < TEXT_ROOM && (k = read(fd, text + n, (size_t)(TEXT_ROOM - n))) > 0)
                n += k;
        error = errno;
        close(fd);
        return k < 0 ? -error : n;
}

int dmem_capacity(const char *root, const char *region, uint64_t *ret) {
        char path[PATH_ROOM], text[TEXT_ROOM];
        ssize_t n = path_of(path, root, "/", "dmem.capacity") ? read_text(path, text) : -ENAMETOOLONG;

        if (n < 0)
                return (int)n;
        return dmem_find(text, (size_t)n, region, ret) ? 0 : -ENODEV;
}

int dmem_read(const char *root, const char *group, const char *region, struct dmem_group *ret) {
        struct dmem_group g = DMEM_GROUP_NONE;
        char path[PATH_ROOM], text[TEXT_ROOM];
        struct stat st;
        ssize_t n;

        if (!path_of(path, root, group, "") || stat(path, &st) < 0)
                return -ENOENT;
        g.number = st.st_ino;
        for (unsigned i = 0; i < DMEM_VALUES; i++) {
                n = path_of(path, root, group, files[i]) ? read_text(path, text) : -ENOENT;
                if (n < 0)
                        return -ENOENT;
                (void)dmem_find(text, (size_t)n, region, &g.value[i]);
        }
        n = path_of(path, root, group, "dmem.current") ? read_text(path, text) : -ENOENT;
        if (n > 0)
                (void)dmem_find(text, (size_t)n, region, &g.current);
        *ret = g;
        return 0;
}

static int write_text(const char *path, int flags, const char *text, size_t size) {
        int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | flags, 0644), r = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = write(fd, text, size);
        if (n != (ssize_t)size)
                r = n < 0 ? -errno : -EIO;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        return r;
}

/* Whoever reads meanwhile has the text before or the one after. */
static int replace(const char *path, const char *line) {
        char before[TEXT_ROOM], after[TEXT_ROOM], other[PATH_ROOM + 8];
        ssize_t n = read_text(path, before);
        size_t size;
        int r;

        if (n < 0)
                return (int)n;
        size = dmem_replace(before, (size_t)n, line, after, sizeof(after));
        if (size > sizeof(after))
                return -EFBIG;
        snprintf(other, sizeof(other), "%s.svmd", path);
        r = write_text(other, O_CREAT | O_TRUNC, after, size);
        if (r == 0 && rename(other, path) < 0)
                r = -errno;
        return r;
}

int dmem_write(const char *root, bool emulated, const char *group, const char *region, enum dmem_value which,
               uint64_t value) {
        char path[PATH_ROOM], line[256];
        int n = dmem_line(line, sizeof(line), region, dmem_rounded(value));

        if (n >= (int)sizeof(line) || !path_of(path, root, group, files[which]))
                return -ENAMETOOLONG;
        return emulated ? replace(path, line) : write_text(path, 0, line, (size_t)n);
}
