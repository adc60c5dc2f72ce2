/*
 * svmd with one shortcut of those that lose data, by the name in $SVMD_TEST_SHORTCUT. It is svmd's own objects, linked
 * again with the calls of userfault.h and the punch going through here first.
 *
 *      no-protection       nothing is write-protected while it is copied
 *      unprotect-first     the protection is lifted before the punch, not after
 *      trust-kind          a fault is served by what the kernel calls it, whatever the granule's state
 *      continue-copying    only faults on what the file has are served so
 *      no-minor            ranges are registered without MINOR
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "mover/userfault.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

int __real_userfault_protect(int fd, uint64_t start, uint64_t size);
int __real_userfault_register(int fd, uint64_t start, uint64_t size, bool readonly, uint64_t *ret_ioctls);
int __real_userfault_read(int fd, struct userfault_event *ret, unsigned max);
int __real_fallocate(int fd, int mode, off_t offset, off_t length);

enum { PAGE = 4096, REGISTERED_MAX = 1024 };

static bool takes(const char *shortcut) {
        const char *taken = getenv("SVMD_TEST_SHORTCUT");

        return taken && strcmp(taken, shortcut) == 0;
}

/* Where the range of the test is mapped; those of sessions that have ended fail and do no harm. */
static struct {
        int fd;
        uint64_t start;
} registered[REGISTERED_MAX];
static unsigned registered_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(int fd, uint64_t start) {
        pthread_mutex_lock(&lock);
        registered[registered_count % REGISTERED_MAX].fd = fd;
        registered[registered_count % REGISTERED_MAX].start = start;
        registered_count++;
        pthread_mutex_unlock(&lock);
}

static void unprotect_all(uint64_t offset, uint64_t size) {
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < registered_count && i < REGISTERED_MAX; i++)
                userfault_unprotect(registered[i].fd, registered[i].start + offset, size, USERFAULT_WAKE);
        pthread_mutex_unlock(&lock);
}

static int register_without_minor(int fd, uint64_t start, uint64_t size, uint64_t *ret_ioctls) {
        struct uffdio_register r = { .range = { start, size },
                                     .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP };

        if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
                return -errno;
        if (ret_ioctls)
                *ret_ioctls = r.ioctls | 1ull << _UFFDIO_CONTINUE;
        return 0;
}

int __wrap_userfault_register(int fd, uint64_t start, uint64_t size, bool readonly, uint64_t *ret_ioctls) {
        remember(fd, start);
        if (takes("no-minor") && !readonly)
                return register_without_minor(fd, start, size, ret_ioctls);
        return __real_userfault_register(fd, start, size, readonly, ret_ioctls);
}

int __wrap_userfault_protect(int fd, uint64_t start, uint64_t size) {
        return takes("no-protection") ? 0 : __real_userfault_protect(fd, start, size);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length) {
        if (mode & FALLOC_FL_PUNCH_HOLE && takes("unprotect-first"))
                unprotect_all((uint64_t)offset, (uint64_t)length);
        return __real_fallocate(fd, mode, offset, length);
}

/* Who faulted goes on at once; the engine hears of it all the same. */
static void serve(int fd, const struct userfault_event *e) {
        uint64_t page = e->start & ~(uint64_t)(PAGE - 1);

        if (e->type != USERFAULT_FAULT)
                return;
        if (e->minor && (takes("trust-kind") || takes("continue-copying")))
                userfault_continue(fd, page, PAGE, USERFAULT_WAKE);
        else if (e->write && takes("trust-kind"))
                userfault_unprotect(fd, page, PAGE, USERFAULT_WAKE);
}

int __wrap_userfault_read(int fd, struct userfault_event *ret, unsigned max) {
        int n = __real_userfault_read(fd, ret, max);

        for (int i = 0; i < n; i++)
                serve(fd, &ret[i]);
        return n;
}
