#include "account/look.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/started.h"

/* Of the kernel. */
enum { DRM_MAJOR = 226, DRM_RENDER = 128 };

enum { TEXT_ROOM = 16384, PATH_ROOM = 512, CLIENTS_MAX = 64 };

/* The beginning of a file; 0 bytes where it cannot be read. */
static size_t read_file(int dir, const char *path, char *to, size_t room) {
        int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        size_t n = 0;
        ssize_t k = 1;

        if (fd < 0)
                return 0;
        while (n < room && k > 0) {
                k = read(fd, to + n, room - n);
                n += k > 0 ? (size_t)k : 0;
        }
        close(fd);
        return n;
}

/* ---- processes ---- */

uint64_t look_ticks(uint64_t boottime_ns) {
        return boottime_ns / (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Name and start out of /proc/PID/stat: "PID (NAME) S 1 2 ...", where a name may have brackets and spaces in it. */
static bool read_stat(const char *proc_root, uint32_t pid, char *name, size_t name_room, uint64_t *ret_started) {
        char path[PATH_ROOM], text[1024], *open, *close;
        size_t n;

        snprintf(path, sizeof(path), "%s/%u/stat", proc_root, pid);
        n = read_file(AT_FDCWD, path, text, sizeof(text) - 1);
        text[n] = 0;
        open = strchr(text, '(');
        close = strrchr(text, ')');
        if (!open || close < open || !started_parse(text, ret_started))
                return false;
        *close = 0;
        snprintf(name, name_room, "%s", open + 1);
        for (char *c = name; *c; c++)
                *c = isgraph((unsigned char)*c) ? *c : '_';
        return true;
}

void look_at_process(const char *proc_root, uint32_t pid, uint64_t by, struct looked *ret) {
        struct looked l = { .started = 0 };
        char path[PATH_ROOM], text[TEXT_ROOM], again[sizeof(l.process)];
        uint64_t started;
        size_t n;

        memset(ret, 0, sizeof(*ret));
        if (!read_stat(proc_root, pid, l.process, sizeof(l.process), &l.started) || l.started > by)
                return;
        snprintf(path, sizeof(path), "%s/%u/cgroup", proc_root, pid);
        n = read_file(AT_FDCWD, path, text, sizeof(text));
        where_parse(text, n, &l.where);
        /* What was read in between was its own. */
        if (read_stat(proc_root, pid, again, sizeof(again), &started) && started == l.started)
                *ret = l;
}

/* ---- files of memory ---- */

struct inodes {
        ino_t *at;
        size_t count, room;
};

/* -ENOMEM, or whether it is new. Sorted: descriptors of one file are rare, files are many. */
static int inode_add(struct inodes *s, ino_t ino) {
        size_t low = 0, high = s->count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (s->at[middle] == ino)
                        return 0;
                if (s->at[middle] < ino)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (s->count == s->room) {
                size_t room = s->room ? 2 * s->room : 256;
                ino_t *at = alloc_grow(s->at, s->room * sizeof(*at), room * sizeof(*at));

                if (!at)
                        return -ENOMEM;
                s->at = at;
                s->room = room;
        }
        memmove(s->at + low + 1, s->at + low, (s->count - low) * sizeof(*s->at));
        s->at[low] = ino;
        s->count++;
        return 1;
}

/* "/memfd:svmd-KIND-NUMBER..." */
static bool split_name(const char *target, struct look_file *ret) {
        static const char head[] = "/memfd:svmd-";
        const char *kind = target + sizeof(head) - 1, *dash;

        if (strncmp(target, head, sizeof(head) - 1) != 0)
                return false;
        dash = strchr(kind, '-');
        if (!dash || (size_t)(dash - kind) >= sizeof(ret->kind))
                return false;
        memset(ret, 0, sizeof(*ret));
        memcpy(ret->kind, kind, (size_t)(dash - kind));
        if (strcmp(ret->kind, "pool") == 0 || strcmp(ret->kind, "slots") == 0)
                ret->number = strtoull(dash + 1, NULL, 10);
        return true;
}

/* False: there is no room. */
static bool file_add(struct look_file *rows, unsigned room, unsigned *count, const struct look_file *f) {
        for (unsigned i = 0; i < *count; i++) {
                if (strcmp(rows[i].kind, f->kind) != 0 || rows[i].number != f->number)
                        continue;
                rows[i].bytes += f->bytes;
                return true;
        }
        if (*count == room)
                return false;
        rows[(*count)++] = *f;
        return true;
}

static int add_entry(int dir, const char *name, struct inodes *seen, struct look_file *rows, unsigned room,
                     unsigned *count) {
        char target[128];
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
        struct look_file f;
        struct stat st;
        int r;

        if (n < 0)
                return 0;
        target[n] = 0;
        if (!split_name(target, &f) || fstatat(dir, name, &st, 0) < 0)
                return 0;
        r = inode_add(seen, st.st_ino);
        if (r <= 0)
                return r;
        f.bytes = (uint64_t)st.st_blocks * 512;
        return file_add(rows, room, count, &f) ? 0 : -E2BIG;
}

int look_at_files(struct look_file *rows, unsigned room, unsigned *ret_count) {
        struct inodes seen = { 0 };
        unsigned count = 0;
        DIR *dir = opendir("/proc/self/fd");
        struct dirent *e;
        int r = 0;

        if (!dir)
                return -errno;
        while (r == 0 && (e = readdir(dir)))
                r = add_entry(dirfd(dir), e->d_name, &seen, rows, room, &count);
        closedir(dir);
        alloc_free(seen.at);
        if (r == 0)
                *ret_count = count;
        return r;
}

/* ---- devices ---- */

/* NULL: there is no room. */
static struct look_device *device_add(struct look_device *rows, unsigned room, unsigned *count, const char *source,
                                      const char *device, const char *region, uint64_t bytes) {
        struct look_device *d;

        for (unsigned i = 0; i < *count; i++) {
                d = &rows[i];
                if (strcmp(d->source, source) == 0 && strcmp(d->device, device) == 0 &&
                    strcmp(d->region, region) == 0) {
                        d->bytes += bytes;
                        return d;
                }
        }
        if (*count == room)
                return NULL;
        d = &rows[(*count)++];
        memset(d, 0, sizeof(*d));
        snprintf(d->source, sizeof(d->source), "%s", source);
        snprintf(d->device, sizeof(d->device), "%s", device);
        snprintf(d->region, sizeof(d->region), "%s", region);
        d->bytes = bytes;
        return d;
}

struct clients {
        struct {
                uint64_t client;
                char pdev[REPORT_NAME];
        } seen[CLIENTS_MAX];
        unsigned count;
};

/* Descriptors of one open file have its number. What has none, and what is too much to remember, counts. */
static bool is_new(struct clients *c, const struct fdinfo *f) {
        if (!f->has_client)
                return true;
        for (unsigned i = 0; i < c->count; i++)
                if (c->seen[i].client == f->client && strcmp(c->seen[i].pdev, f->pdev) == 0)
                        return false;
        if (c->count < CLIENTS_MAX) {
                c->seen[c->count].client = f->client;
                memcpy(c->seen[c->count++].pdev, f->pdev, sizeof(f->pdev));
        }
        return true;
}

static void add_fdinfo(int dir, struct look_device *rows, unsigned room, unsigned *count) {
        DIR *list = fdopendir(dir);
        struct clients clients = { .count = 0 };
        char text[4096];
        struct dirent *e;

        if (!list) {
                close(dir);
                return;
        }
        while ((e = readdir(list))) {
                struct fdinfo f;
                size_t n = e->d_name[0] == '.' ? 0 : read_file(dir, e->d_name, text, sizeof(text));

                fdinfo_parse(text, n, &f);
                if (!f.driver[0] || !is_new(&clients, &f))
                        continue;
                for (unsigned i = 0; i < f.regions_count; i++)
                        if (fdinfo_is_local(&f.regions[i]))
                                device_add(rows, room, count, "fdinfo", f.pdev[0] ? f.pdev : f.driver,
                                           f.regions[i].name, fdinfo_bytes(&f.regions[i]));
        }
        closedir(list);
}

bool look_has_counted(const struct look_counts *c) {
        return c->faults | c->pages_in | c->pages_out | c->evicted_ms;
}

static void read_count(int dir, const char *folder, const char *name, unsigned bit, unsigned *has, uint64_t *to) {
        char path[2 * REPORT_NAME], text[64];

        snprintf(path, sizeof(path), "%.64s/%s", folder, name);
        if (report_number(text, read_file(dir, path, text, sizeof(text)), to))
                *has |= bit;
}

static void read_counts(int dir, const char *folder, struct look_counts *c) {
        read_count(dir, folder, "faults", LOOK_FAULTS, &c->has, &c->faults);
        read_count(dir, folder, "page_in", LOOK_PAGES_IN, &c->has, &c->pages_in);
        read_count(dir, folder, "page_out", LOOK_PAGES_OUT, &c->has, &c->pages_out);
}

static const char *after(const char *text, const char *head) {
        size_t n = strlen(head);

        return strncmp(text, head, n) == 0 ? text + n : NULL;
}

static void add_kfd(int dir, struct look_device *rows, unsigned room, unsigned *count) {
        DIR *list = fdopendir(dir);
        char text[64];
        struct dirent *e;

        if (!list) {
                close(dir);
                return;
        }
        while ((e = readdir(list))) {
                struct look_device *d;
                const char *gpu;
                uint64_t bytes;

                if ((gpu = after(e->d_name, "vram_"))) {
                        if (report_number(text, read_file(dir, e->d_name, text, sizeof(text)), &bytes))
                                device_add(rows, room, count, "kfd", gpu, "vram", bytes);
                } else if ((gpu = after(e->d_name, "counters_"))) {
                        d = device_add(rows, room, count, "kfd", gpu, "vram", 0);
                        if (d)
                                read_counts(dir, e->d_name, &d->counts);
                } else if ((gpu = after(e->d_name, "stats_"))) {
                        d = device_add(rows, room, count, "kfd", gpu, "vram", 0);
                        if (d)
                                read_count(dir, e->d_name, "evicted_ms", LOOK_EVICTED, &d->counts.has,
                                           &d->counts.evicted_ms);
                }
        }
        closedir(list);
}

unsigned look_at_devices(const char *proc_root, const char *sys_root, uint32_t pid, struct look_device *rows,
                         unsigned room) {
        char path[PATH_ROOM];
        unsigned count = 0;
        int dir;

        snprintf(path, sizeof(path), "%s/%u/fdinfo", proc_root, pid);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0)
                add_fdinfo(dir, rows, room, &count);
        snprintf(path, sizeof(path), "%s/class/kfd/kfd/proc/%u", sys_root, pid);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0)
                add_kfd(dir, rows, room, &count);
        return count;
}

/* NULL: there is no room. */
static struct look_opened *opened_of(const char *path, struct look_opened *rows, unsigned room, unsigned *count) {
        for (unsigned i = 0; i < *count; i++)
                if (strcmp(rows[i].path, path) == 0)
                        return &rows[i];
        if (*count == room)
                return NULL;
        memset(&rows[*count], 0, sizeof(*rows));
        snprintf(rows[*count].path, sizeof(rows->path), "%s", path);
        return &rows[(*count)++];
}

/* False: it is no device's. */
static bool name_of_fd(int dir, const char *name, char *path, size_t size) {
        ssize_t n = readlinkat(dir, name, path, size - 1);
        struct stat st;

        if (n < 0)
                return false;
        path[n] = 0;
        if (fstatat(dir, name, &st, 0) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == DRM_MAJOR)
                snprintf(path, size, "/dev/dri/%s%u", minor(st.st_rdev) >= DRM_RENDER ? "renderD" : "card",
                         minor(st.st_rdev));
        return report_is_device(path);
}

static void add_fds(const char *proc_root, uint32_t pid, struct look_opened *rows, unsigned room, unsigned *count) {
        char path[PATH_ROOM], text[4096];
        struct dirent *e;
        DIR *list;

        snprintf(path, sizeof(path), "%s/%u/fd", proc_root, pid);
        list = opendir(path);
        while (list && (e = readdir(list))) {
                struct look_opened *o;
                struct fdinfo f;
                size_t n;

                if (!isdigit((unsigned char)e->d_name[0]) || !name_of_fd(dirfd(list), e->d_name, path, sizeof(path)) ||
                    !(o = opened_of(path, rows, room, count)))
                        continue;
                o->fds++;
                snprintf(path, sizeof(path), "%s/%u/fdinfo/%.16s", proc_root, pid, e->d_name);
                n = read_file(AT_FDCWD, path, text, sizeof(text));
                fdinfo_parse(text, n, &f);
                snprintf(o->driver, sizeof(o->driver), "%s", f.driver);
        }
        if (list)
                closedir(list);
}

static void add_maps(const char *proc_root, uint32_t pid, struct look_opened *rows, unsigned room, unsigned *count) {
        char path[PATH_ROOM], *line = NULL;
        size_t size = 0;
        ssize_t n;
        FILE *f;

        snprintf(path, sizeof(path), "%s/%u/maps", proc_root, pid);
        f = fopen(path, "re");
        while (f && (n = getline(&line, &size, f)) > 0) {
                struct look_opened *o;
                const char *name;
                uint64_t bytes;

                line[line[n - 1] == '\n' ? n - 1 : n] = 0;
                if (maps_line_parse(line, &name, &bytes) && report_is_device(name) &&
                    (o = opened_of(name, rows, room, count)))
                        o->mapped += bytes;
        }
        free(line);
        if (f)
                fclose(f);
}

unsigned look_at_opened(const char *proc_root, uint32_t pid, struct look_opened *rows, unsigned room) {
        unsigned count = 0;

        add_fds(proc_root, pid, rows, room, &count);
        add_maps(proc_root, pid, rows, room, &count);
        return count;
}
