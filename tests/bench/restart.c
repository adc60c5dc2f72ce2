#include "restart.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "store/journal.h"

enum { CLIENT_CPU = 0, DAEMON_CPU = 1, PATIENCE_MS = 30000 };

extern char **environ;

/* ---- processes ---- */

static size_t read_proc(pid_t pid, const char *file, char *to, size_t size) {
        char path[64];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, to, size - 1);
        close(fd);
        to[n > 0 ? n : 0] = 0;
        return n > 0 ? (size_t)n : 0;
}

void restart_begin(struct restart *d, const char *runtime_dir, pid_t pid) {
        size_t size, n = 0;

        memset(d, 0, sizeof(*d));
        d->runtime_dir = runtime_dir;
        d->pid = pid;
        size = read_proc(pid, "cmdline", d->line, sizeof(d->line));
        must(size > 0, "there is no svmd with number %d", (int)pid);
        for (size_t at = 0; at < size; at += strlen(d->line + at) + 1) {
                must(n + 1 < sizeof(d->arguments) / sizeof(d->arguments[0]), "svmd has too many arguments");
                d->arguments[n++] = d->line + at;
        }
}

/* A pidfd tells of the end of all its threads; somebody else's child then stays as a zombie. */
static void end(struct restart *d, int signum) {
        struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, d->pid, 0), .events = POLLIN };

        must(p.fd >= 0 && kill(d->pid, signum) == 0, "svmd cannot be ended");
        must(poll(&p, 1, PATIENCE_MS) == 1, "svmd does not end");
        close(p.fd);
        if (d->mine)
                waitpid(d->pid, NULL, 0);
}

void restart_kill(struct restart *d) {
        end(d, SIGKILL);
}

void restart_end(struct restart *d) {
        end(d, SIGINT);
}

uint64_t restart_start(struct restart *d) {
        uint64_t start;
        int r;

        pin_to(DAEMON_CPU);
        start = now_ns();
        r = posix_spawn(&d->pid, d->arguments[0], NULL, NULL, d->arguments, environ);
        must(r == 0, "svmd cannot be started again: %s", strerror(r));
        pin_to(CLIENT_CPU);
        d->mine = true;
        return start;
}

/* ---- the journal ---- */

/* The first descriptor of a process that is this file of memory; -1: it has none. */
static int open_file_of(pid_t pid, const char *name) {
        char path[64], target[128];
        struct dirent *e;
        int fd = -1;
        DIR *dir;

        snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        while (dir && fd < 0 && (e = readdir(dir))) {
                ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);

                if (n < 0)
                        continue;
                target[n] = 0;
                if (strncmp(target, name, strlen(name)) == 0)
                        fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC);
        }
        if (dir)
                closedir(dir);
        return fd;
}

static bool is_keeper(const struct restart *d, pid_t pid) {
        char line[4096];
        size_t n = read_proc(pid, "comm", line, sizeof(line));

        if (n == 0 || strcmp(line, "svmd-keeper\n") != 0)
                return false;
        n = read_proc(pid, "cmdline", line, sizeof(line));
        for (size_t at = 0; at < n; at += strlen(line + at) + 1)
                if (strcmp(line + at, d->runtime_dir) == 0)
                        return true;
        return false;
}

static int open_journal(const struct restart *d) {
        DIR *dir = opendir("/proc");
        struct dirent *e;
        int fd = -1;

        must(dir != NULL, "/proc cannot be read");
        while (fd < 0 && (e = readdir(dir)))
                if (atoi(e->d_name) > 0 && is_keeper(d, atoi(e->d_name)))
                        fd = open_file_of(atoi(e->d_name), "/memfd:svmd-journal");
        closedir(dir);
        must(fd >= 0, "svmd-keeper has no journal");
        return fd;
}

/* The journal is the next svmd's: what is read here is a copy. */
static int copy_file(int from) {
        static char buffer[1 << 20];
        off_t at = 0, hole;
        struct stat st;
        int to = memfd_create("bench-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        must(to >= 0 && fstat(from, &st) == 0 && ftruncate(to, st.st_size) == 0, "the journal cannot be copied");
        while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
                hole = lseek(from, at, SEEK_HOLE);
                while (at < hole) {
                        size_t size = (size_t)(hole - at) < sizeof(buffer) ? (size_t)(hole - at) : sizeof(buffer);

                        must(pread(from, buffer, size, at) == (ssize_t)size &&
                                     pwrite(to, buffer, size, at) == (ssize_t)size,
                             "the journal cannot be copied");
                        at += (off_t)size;
                }
        }
        return to;
}

static int look(void *userdata, uint16_t type, const void *bytes, size_t size) {
        *(uint64_t *)userdata += size;
        return 0;
}

double restart_journal_ns(const struct restart *d) {
        int from = open_journal(d), copy = copy_file(from);
        uint64_t start, ns, bytes = 0;
        char why[256] = "";
        struct journal *j;

        close(from);
        pin_to(DAEMON_CPU);
        start = now_ns();
        must(journal_adopt(&j, copy, why, sizeof(why)) == 0, "the journal cannot be read: %s", why);
        must(journal_replay(j, look, &bytes) == 0 && bytes > 0, "the journal is empty");
        ns = now_ns() - start;
        pin_to(CLIENT_CPU);
        journal_free(j);
        return (double)ns;
}
