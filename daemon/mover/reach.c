#include "mover/reach.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "mover/internal.h"
#include "mover/userfault.h"

enum { STAGE = CLIENT_REQUEST_MAX + PAGE }; /* one page more where it does not begin at one */

struct reach {
        int mem;
        pid_t pid;
        int uffd, ended; /* the stage's; an eventfd: the write is over */
        char *stage;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t work, progress;
        bool stop, busy, write, denied;
        uint64_t address;
        uint32_t size, pages; /* pages: that were written */
        char *to;
        int result;
};

static int read_all(struct reach *r) {
        uint32_t done = 0;

        while (done < r->size) {
                ssize_t n = pread(r->mem, r->to + done, r->size - done, (off_t)(r->address + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 && done == 0 ? -ESRCH : -EFAULT;
                done += (uint32_t)n;
        }
        return 0;
}

static void written(struct reach *r) {
        pthread_mutex_lock(&r->lock);
        r->pages++;
        pthread_cond_broadcast(&r->progress);
        pthread_mutex_unlock(&r->lock);
}

static int write_all(struct reach *r) {
        uint32_t skip = (uint32_t)(r->address % PAGE);

        for (uint32_t done = 0; done < r->size;) {
                uint32_t at = skip + done, left = PAGE - at % PAGE,
                         piece = r->size - done < left ? r->size - done : left;
                struct iovec from = { r->stage + at, piece };
                struct iovec to = { (void *)(uintptr_t)(r->address + done), piece };
                ssize_t n = syscall(SYS_process_vm_writev, r->pid, &from, 1, &to, 1, 0ul);

                if (n != (ssize_t)piece)
                        return n < 0 ? -errno : -EFAULT;
                done += piece;
                written(r);
        }
        return 0;
}

static void *reach_main(void *userdata) {
        struct reach *r = userdata;
        uint64_t one = 1;

        pthread_mutex_lock(&r->lock);
        while (!r->stop) {
                int k;

                if (!r->busy) {
                        pthread_cond_wait(&r->work, &r->lock);
                        continue;
                }
                pthread_mutex_unlock(&r->lock);
                k = r->write ? write_all(r) : read_all(r);
                pthread_mutex_lock(&r->lock);
                r->result = k;
                r->busy = false;
                pthread_cond_broadcast(&r->progress);
                if (r->write && write(r->ended, &one, sizeof(one)) < 0)
                        break;
        }
        pthread_mutex_unlock(&r->lock);
        return NULL;
}

static int make_stage(struct reach *r) {
        void *p = mmap(NULL, STAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        int k;

        if (p == MAP_FAILED)
                return -errno;
        r->stage = p;
        r->uffd = userfault_new();
        if (r->uffd < 0)
                return r->uffd;
        k = userfault_api(r->uffd, 0, NULL);
        if (k == 0)
                k = userfault_register_missing(r->uffd, (uintptr_t)p, STAGE);
        r->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return k < 0 || r->ended >= 0 ? k : -errno;
}

static void destroy(struct reach *r) {
        if (r->stage)
                munmap(r->stage, STAGE);
        if (r->uffd >= 0)
                close(r->uffd);
        if (r->ended >= 0)
                close(r->ended);
        pthread_cond_destroy(&r->work);
        pthread_cond_destroy(&r->progress);
        pthread_mutex_destroy(&r->lock);
        alloc_free(r);
}

int reach_new(struct reach **ret, int mem, uint32_t pid) {
        struct reach *r = alloc_zero(sizeof(*r));
        int k;

        if (!r)
                return -ENOMEM;
        r->mem = mem;
        r->pid = (pid_t)pid;
        r->uffd = r->ended = -1;
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->work, NULL);
        pthread_cond_init(&r->progress, NULL);
        k = make_stage(r);
        if (k == 0)
                k = thread_new(&r->thread, reach_main, r, "svmd-reach");
        if (k < 0) {
                destroy(r);
                return k;
        }
        *ret = r;
        return 0;
}

void reach_free(struct reach *r) {
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_signal(&r->work);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
        destroy(r);
}

static void begin(struct reach *r, bool write, uint64_t address, char *to, uint32_t size) {
        pthread_mutex_lock(&r->lock);
        r->busy = true;
        r->write = write;
        r->address = address;
        r->to = to;
        r->size = size;
        r->pages = 0;
        pthread_cond_signal(&r->work);
        pthread_mutex_unlock(&r->lock);
}

int reach_read(struct reach *r, uint64_t address, void *to, uint32_t size) {
        begin(r, false, address, to, size);
        return reach_result(r);
}

void reach_write(struct reach *r, uint64_t address, uint32_t size) {
        uint64_t count;

        (void)madvise(r->stage, STAGE, MADV_DONTNEED);
        (void)!read(r->ended, &count, sizeof(count));
        begin(r, true, address, NULL, size);
}

bool reach_pinned(struct reach *r, uint32_t *ret) {
        struct pollfd p[2] = { { .fd = r->uffd, .events = POLLIN }, { .fd = r->ended, .events = POLLIN } };
        struct userfault_event e;

        for (;;) {
                if (poll(p, 2, -1) < 0)
                        continue;
                if (p[0].revents && userfault_read(r->uffd, &e, 1) == 1 && e.type == USERFAULT_FAULT) {
                        *ret = (uint32_t)((e.start - (uintptr_t)r->stage) / PAGE);
                        return true;
                }
                if (p[1].revents)
                        return false;
        }
}

void reach_supply(struct reach *r, uint32_t page, const void *bytes) {
        uintptr_t at = (uintptr_t)r->stage + (uintptr_t)page * PAGE;

        /* Another thread of svmd maps or unmaps. */
        while (userfault_copy(r->uffd, at, bytes, PAGE, USERFAULT_WAKE) == -EAGAIN)
                ;
        pthread_mutex_lock(&r->lock);
        while (r->busy && r->pages <= page)
                pthread_cond_wait(&r->progress, &r->lock);
        pthread_mutex_unlock(&r->lock);
}

void reach_deny(struct reach *r) {
        r->denied = true;
        (void)mprotect(r->stage, STAGE, PROT_NONE);
        (void)userfault_wake(r->uffd, (uintptr_t)r->stage, STAGE);
}

int reach_result(struct reach *r) {
        int k;

        pthread_mutex_lock(&r->lock);
        while (r->busy)
                pthread_cond_wait(&r->progress, &r->lock);
        k = r->result;
        pthread_mutex_unlock(&r->lock);
        if (r->denied)
                (void)mprotect(r->stage, STAGE, PROT_READ | PROT_WRITE);
        r->denied = false;
        return k;
}
