#include "mover/own.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mover/mover.h"
#include "mover/userfault.h"

static int uffd = -ENODEV;

/* Without events: nobody reads them, and unmapping would wait for a reader. */
static void start(void) {
        uint64_t needs = userfault_needs_own() | (mover_features()->huge ? userfault_needs_huge() : 0);
        int fd = userfault_new();

        if (fd >= 0 && userfault_api(fd, needs, NULL)) {
                close(fd);
                fd = -EOPNOTSUPP;
        }
        uffd = fd;
}

static int enter(void **ret, int file, uint64_t offset, uint64_t page) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        uint64_t ioctls;
        void *p;
        int k;

        pthread_once(&once, start);
        if (uffd < 0)
                return uffd;
        p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, (off_t)offset);
        if (p == MAP_FAILED)
                return -errno;
        k = userfault_register(uffd, (uintptr_t)p, page, true, &ioctls);
        if (k)
                munmap(p, page);
        else
                *ret = p;
        return k;
}

/* Another thread of svmd maps or unmaps: nothing that lasts. */
static int64_t outcome(int64_t k) {
        return k > 0 ? 0 : k;
}

int own_has(int file, uint64_t offset, uint64_t page) {
        int64_t k;
        void *p;
        int r = enter(&p, file, offset, page);

        if (r)
                return r;
        do
                k = outcome(userfault_continue(uffd, (uintptr_t)p, page, 0));
        while (k == -EAGAIN);
        munmap(p, page);
        return k == -EFAULT ? 0 : k == -EEXIST || k == 0 ? 1 : (int)k;
}

int own_exists(int file, uint64_t offset, uint64_t page) {
        int k = page > 4096 ? own_has(file, offset, page) : 1;

        return k < 0 ? k : k ? -EEXIST : -ENOMEM;
}

int own_fill(int file, uint64_t offset, uint64_t page, const void *from) {
        int64_t k;
        void *p;
        int r = enter(&p, file, offset, page);

        if (r)
                return r;
        do
                k = outcome(userfault_copy(uffd, (uintptr_t)p, from, page, 0));
        while (k == -EAGAIN);
        munmap(p, page);
        return k == -EEXIST ? own_exists(file, offset, page) : (int)k;
}
