#include "mover/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What headers of older kernels lack. */
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif
#ifndef _UFFDIO_POISON
#define _UFFDIO_POISON              (0x08)
#define UFFDIO_POISON               _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#define UFFDIO_POISON_MODE_DONTWAKE ((__u64)1 << 0)
struct uffdio_poison {
        struct uffdio_range range;
        __u64 mode;
        __s64 updated;
};
#endif

enum { BATCH = 64 };

uint64_t userfault_needs(void) {
        return UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
               UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
               UFFD_FEATURE_EVENT_REMAP;
}

uint64_t userfault_needs_huge(void) {
        return UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_HUGETLBFS;
}

uint64_t userfault_needs_own(void) {
        return UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
}

uint64_t userfault_poison_bit(void) {
        return UFFD_FEATURE_POISON;
}

int userfault_new(void) {
        int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

        if (device >= 0) {
                fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
                close(device);
        } else
                fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

bool userfault_is(int fd) {
        char path[32], name[32] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return readlink(path, name, sizeof(name) - 1) > 0 && !strcmp(name, "anon_inode:[userfaultfd]");
}

int userfault_api(int fd, uint64_t features, uint64_t *ret_has) {
        struct uffdio_api api = { .api = UFFD_API, .features = features };

        if (ioctl(fd, UFFDIO_API, &api) < 0)
                return -errno;
        if (ret_has)
                *ret_has = api.features;
        return 0;
}

int userfault_register(int fd, uint64_t start, uint64_t size, bool readonly, uint64_t *ret_ioctls) {
        struct uffdio_register r = {
                .range = { .start = start, .len = size },
                .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
                        (readonly ? 0 : UFFDIO_REGISTER_MODE_WP),
        };

        if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
                return -errno;
        *ret_ioctls = r.ioctls;
        return 0;
}

int userfault_register_missing(int fd, uint64_t start, uint64_t size) {
        struct uffdio_register r = { .range = { .start = start, .len = size }, .mode = UFFDIO_REGISTER_MODE_MISSING };

        return ioctl(fd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

bool userfault_serves(uint64_t ioctls, bool readonly) {
        uint64_t needs = 1ull << _UFFDIO_WAKE | 1ull << _UFFDIO_COPY | 1ull << _UFFDIO_CONTINUE;

        needs |= readonly ? 0 : 1ull << _UFFDIO_WRITEPROTECT;
        return (ioctls & needs) == needs;
}

static int protection(int fd, uint64_t start, uint64_t size, uint64_t mode) {
        struct uffdio_writeprotect p = { .range = { .start = start, .len = size }, .mode = mode };

        return ioctl(fd, UFFDIO_WRITEPROTECT, &p) < 0 ? -errno : 0;
}

int userfault_protect(int fd, uint64_t start, uint64_t size) {
        return protection(fd, start, size, UFFDIO_WRITEPROTECT_MODE_WP);
}

int userfault_unprotect(int fd, uint64_t start, uint64_t size, unsigned flags) {
        return protection(fd, start, size, flags & USERFAULT_WAKE ? 0 : UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

int userfault_wake(int fd, uint64_t start, uint64_t size) {
        struct uffdio_range r = { .start = start, .len = size };

        return ioctl(fd, UFFDIO_WAKE, &r) < 0 ? -errno : 0;
}

/* What was done before the call stopped; the next call says why it did. */
static int64_t served(int r, int64_t done) {
        if (r == 0 || (errno == EAGAIN && done > 0))
                return done;
        return -errno;
}

int64_t userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags) {
        struct uffdio_copy c = {
                .dst = to,
                .src = (uint64_t)(uintptr_t)from,
                .len = size,
                .mode = (flags & USERFAULT_WAKE ? 0 : UFFDIO_COPY_MODE_DONTWAKE) |
                        (flags & USERFAULT_PROTECT ? UFFDIO_COPY_MODE_WP : 0),
        };
        int r = ioctl(fd, UFFDIO_COPY, &c);

        return served(r, c.copy);
}

int64_t userfault_zero(int fd, uint64_t to, uint64_t size, unsigned flags) {
        struct uffdio_zeropage z = {
                .range = { .start = to, .len = size },
                .mode = flags & USERFAULT_WAKE ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE,
        };
        int r = ioctl(fd, UFFDIO_ZEROPAGE, &z);

        return served(r, z.zeropage);
}

int64_t userfault_continue(int fd, uint64_t start, uint64_t size, unsigned flags) {
        struct uffdio_continue c = {
                .range = { .start = start, .len = size },
                .mode = (flags & USERFAULT_WAKE ? 0 : UFFDIO_CONTINUE_MODE_DONTWAKE) |
                        (flags & USERFAULT_PROTECT ? UFFDIO_CONTINUE_MODE_WP : 0),
        };
        int r = ioctl(fd, UFFDIO_CONTINUE, &c);

        return served(r, c.mapped);
}

int64_t userfault_poison(int fd, uint64_t start, uint64_t size, unsigned flags) {
        struct uffdio_poison p = {
                .range = { .start = start, .len = size },
                .mode = flags & USERFAULT_WAKE ? 0 : UFFDIO_POISON_MODE_DONTWAKE,
        };
        int r = ioctl(fd, UFFDIO_POISON, &p);

        return served(r, p.updated);
}

/* Memory of nothing cannot be continued, of a file it can where it is there: both are refused only behind the question
 * whose mapping it is. */
int userfault_has(int fd, uint64_t page) {
        int64_t k = userfault_continue(fd, page, 4096, 0);

        return k == -ENOENT || k == -EAGAIN || k == -ESRCH ? (int)k : 0;
}

static void event_from(struct userfault_event *e, const struct uffd_msg *m) {
        uint64_t flags = m->arg.pagefault.flags;

        switch (m->event) {
        case UFFD_EVENT_PAGEFAULT:
                *e = (struct userfault_event){
                        .type = USERFAULT_FAULT,
                        .write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
                        .minor = flags & UFFD_PAGEFAULT_FLAG_MINOR,
                        .start = m->arg.pagefault.address,
                };
                break;
        case UFFD_EVENT_REMOVE:
        case UFFD_EVENT_UNMAP:
                *e = (struct userfault_event){
                        .type = m->event == UFFD_EVENT_UNMAP ? USERFAULT_UNMAP : USERFAULT_REMOVE,
                        .start = m->arg.remove.start,
                        .end = m->arg.remove.end,
                };
                break;
        case UFFD_EVENT_REMAP:
                *e = (struct userfault_event){
                        .type = USERFAULT_REMAP,
                        .start = m->arg.remap.from,
                        .end = m->arg.remap.from + m->arg.remap.len,
                };
                break;
        default: *e = (struct userfault_event){ .type = USERFAULT_OTHER }; break;
        }
}

/* The holder of the other end may have made it blocking: RWF_NOWAIT does not care (from Linux 6.10 on). */
static ssize_t read_now(int fd, void *to, size_t size) {
        static atomic_bool lacking;
        struct iovec v = { .iov_base = to, .iov_len = size };
        ssize_t n;

        if (!atomic_load_explicit(&lacking, memory_order_relaxed)) {
                n = preadv2(fd, &v, 1, -1, RWF_NOWAIT);
                if (n >= 0 || errno != EOPNOTSUPP)
                        return n;
                atomic_store_explicit(&lacking, true, memory_order_relaxed);
        }
        return read(fd, to, size);
}

bool userfault_reads_now(int fd) {
        struct uffd_msg m;
        struct iovec v = { .iov_base = &m, .iov_len = sizeof(m) };

        return preadv2(fd, &v, 1, -1, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

int userfault_read(int fd, struct userfault_event *ret, unsigned max) {
        struct uffd_msg m[BATCH];
        ssize_t n;

        n = read_now(fd, m, (max < BATCH ? max : BATCH) * sizeof(m[0]));
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        n /= (ssize_t)sizeof(m[0]);
        for (ssize_t i = 0; i < n; i++)
                event_from(&ret[i], &m[i]);
        return (int)n;
}
