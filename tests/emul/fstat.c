#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * A preload: what FUSE shows as /dev/kfd and /dev/dri/... is a character device to stat() and fstat(), with the number
 * that its driver's file would have. libdrm looks at nothing else to tell what a file is. Nothing but these two answers
 * is changed.
 */
enum { KFD_MAJOR = 510, DRM_MAJOR = 226 };

#define SHOWN __attribute__((visibility("default")))

SHOWN int stat(const char *path, struct stat *st);
SHOWN int fstat(int fd, struct stat *st);
/* What programs with 64-bit offsets call; here the structure is the same. */
SHOWN int stat64(const char *path, struct stat64 *st);
SHOWN int fstat64(int fd, struct stat64 *st);

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one structure");

static void dress(const char *path, struct stat *st) {
        int minor = -1;

        if (!S_ISREG(st->st_mode))
                return;
        if (strcmp(path, "/dev/kfd") == 0)
                st->st_rdev = makedev(KFD_MAJOR, 0);
        else if (sscanf(path, "/dev/dri/renderD%d", &minor) == 1 || sscanf(path, "/dev/dri/card%d", &minor) == 1)
                st->st_rdev = makedev(DRM_MAJOR, (unsigned)minor);
        else
                return;
        st->st_mode = S_IFCHR | (st->st_mode & 07777);
}

static int stat_with(const char *name, const char *path, struct stat *st) {
        int (*real)(const char *, struct stat *);
        int r;

        *(void **)&real = dlsym(RTLD_NEXT, name);
        r = real(path, st);
        if (r == 0)
                dress(path, st);
        return r;
}

static int fstat_with(const char *name, int fd, struct stat *st) {
        int (*real)(int, struct stat *);
        char link[64], path[256];
        ssize_t n;
        int r;

        *(void **)&real = dlsym(RTLD_NEXT, name);
        r = real(fd, st);
        if (r < 0 || !S_ISREG(st->st_mode))
                return r;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n > 0) {
                path[n] = 0;
                dress(path, st);
        }
        return r;
}

int stat(const char *path, struct stat *st) {
        return stat_with("stat", path, st);
}

int stat64(const char *path, struct stat64 *st) {
        return stat_with("stat64", path, (struct stat *)st);
}

int fstat(int fd, struct stat *st) {
        return fstat_with("fstat", fd, st);
}

int fstat64(int fd, struct stat64 *st) {
        return fstat_with("fstat64", fd, (struct stat *)st);
}
