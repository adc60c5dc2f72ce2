#include "account/called.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account/look.h"

enum { NOTE_ROOM = 1024 };

int called_make(const char *runtime_dir) {
        char path[512];

        snprintf(path, sizeof(path), "%s/" CALLED_FOLDER, runtime_dir);
        return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* The next line; false: there is none. */
static bool take_line(const char **at, const char *end, const char **ret, size_t *ret_size) {
        const char *newline = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;

        if (!newline)
                return false;
        *ret = *at;
        *ret_size = (size_t)(newline - *at);
        *at = newline + 1;
        return true;
}

bool called_parse(const char *text, size_t size, struct called *ret) {
        const char *at = text, *end = text + size, *line;
        struct called c = { 0 };
        unsigned long long started;
        char first[64];
        size_t n;

        if (!take_line(&at, end, &line, &n) || n >= sizeof(first))
                return false;
        memcpy(first, line, n);
        first[n] = 0;
        if (sscanf(first, "%u %llu", &c.pid, &started) != 2)
                return false;
        c.started = started;
        if (take_line(&at, end, &line, &n))
                where_put(c.name, sizeof(c.name), line, n);
        if (take_line(&at, end, &line, &n))
                where_put(c.pod, sizeof(c.pod), line, n);
        if (take_line(&at, end, &line, &n))
                where_put(c.space, sizeof(c.space), line, n);
        *ret = c;
        return true;
}

bool called_name_ok(const char *id, size_t size) {
        return size > 0 && size < WHERE_ID && id[0] != '.' && !memchr(id, '/', size);
}

static bool read_note(const char *runtime_dir, const char *id, size_t size, struct called *ret) {
        char path[512], text[NOTE_ROOM];
        ssize_t n;
        int fd;

        if (!called_name_ok(id, size) ||
            snprintf(path, sizeof(path), "%s/" CALLED_FOLDER "/%.*s", runtime_dir, (int)size, id) >= (int)sizeof(path))
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof(text));
        close(fd);
        return n > 0 && called_parse(text, (size_t)n, ret);
}

static void take(struct where *w, const struct called *c) {
        memcpy(w->name, c->name, sizeof(w->name));
        memcpy(w->pod_name, c->pod, sizeof(w->pod_name));
        memcpy(w->pod_namespace, c->space, sizeof(w->pod_namespace));
}

void called_look(const char *runtime_dir, struct where *w, const char *known) {
        size_t end = strlen(w->cgroup), start;
        struct called c;

        if (!w->container[0])
                where_put(w->container, sizeof(w->container), known, strlen(known));
        if (w->container[0]) {
                if (read_note(runtime_dir, w->container, strlen(w->container), &c))
                        take(w, &c);
                return;
        }
        for (; end > 0; end = start ? start - 1 : 0) {
                for (start = end; start > 0 && w->cgroup[start - 1] != '/';)
                        start--;
                if (!read_note(runtime_dir, w->cgroup + start, end - start, &c))
                        continue;
                where_put(w->container, sizeof(w->container), w->cgroup + start, end - start);
                take(w, &c);
                return;
        }
}

void called_sweep(const char *runtime_dir, const char *proc_root) {
        char path[512];
        struct looked seen;
        struct dirent *e;
        struct called c;
        DIR *dir;

        snprintf(path, sizeof(path), "%s/" CALLED_FOLDER, runtime_dir);
        dir = opendir(path);
        while (dir && (e = readdir(dir))) {
                if (!read_note(runtime_dir, e->d_name, strlen(e->d_name), &c))
                        continue;
                look_at_process(proc_root, c.pid, UINT64_MAX, &seen);
                if (!seen.process[0] || seen.started != c.started)
                        unlinkat(dirfd(dir), e->d_name, 0);
        }
        if (dir)
                closedir(dir);
}
