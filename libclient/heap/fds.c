#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap.h"

/*
 * Shells use descriptors from 3 on as they like, daemons close all that they did not open. Those of the session have
 * the last FD_ROOM numbers that the process may have when it starts, and calls that would close them pass them by. A
 * program that makes such system calls itself ends its session: see docs/run.md.
 */
#define EXPORT __attribute__((visibility("default")))

static atomic_uint from;

int fds_from(void) {
        struct rlimit limit;
        rlim_t most = 1024;

        if (!from) {
                if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < most)
                        most = limit.rlim_cur;
                from = most > 2 * FD_ROOM ? (unsigned)most - FD_ROOM : 0;
        }
        return (int)from;
}

static bool is_ours(int fd) {
        return heap.on && !heap_inside && from && (unsigned)fd - from < FD_ROOM;
}

EXPORT int close(int fd) {
        if (is_ours(fd)) {
                errno = EBADF;
                return -1;
        }
        return (int)syscall(SYS_close, fd);
}

EXPORT int dup2(int old, int new) {
        if (is_ours(new) || is_ours(old)) {
                errno = EBADF;
                return -1;
        }
        return (int)syscall(SYS_dup2, old, new);
}

EXPORT int dup3(int old, int new, int flags) {
        if (is_ours(new) || is_ours(old)) {
                errno = EBADF;
                return -1;
        }
        return (int)syscall(SYS_dup3, old, new, flags);
}

EXPORT int close_range(unsigned first, unsigned last, int flags) {
        int r = 0;

        if (!heap.on || heap_inside || !from || first >= from + FD_ROOM || last < from)
                return (int)syscall(SYS_close_range, first, last, flags);
        if (first < from)
                r = (int)syscall(SYS_close_range, first, from - 1, flags);
        if (r == 0 && last >= from + FD_ROOM)
                r = (int)syscall(SYS_close_range, from + FD_ROOM, last, flags);
        return r;
}

EXPORT void closefrom(int first) {
        close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}
