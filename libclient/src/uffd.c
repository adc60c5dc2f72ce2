#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "error.h"
#include "wire.h"

/*
 * svmd passes its open /dev/userfaultfd, because making one that also sees faults within system calls needs a right
 * that programs do not have. The userfaultfd is made here, since it belongs to the address space of who makes it, and
 * svmd gets it.
 *
 * The session keeps it open too. When the last descriptor of a userfaultfd is closed, the kernel lets all waiting
 * threads go on with zeroes, though svmd or a node has the bytes. With svmd and its keeper gone, threads that touch
 * what is not there stop instead, until the session is ended.
 */

static int ask_device(svmd_session *s, int *ret) {
        Svmd__V1__UffdDevice body = SVMD__V1__UFFD_DEVICE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        op.op_case = SVMD__V1__OP__OP_UFFD_DEVICE;
        op.uffd_device = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = fdlist_steal(&c->in->fds);
        call_put(s, c);
        return *ret < 0 ? fail(SVMD_E_FD_COUNT, "svmd sent no device to make a userfaultfd from") : 0;
}

static int make(int device, int *ret) {
        *ret = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        if (*ret >= 0)
                return 0;
        if (errno == EMFILE)
                return fail(SVMD_E_SYSTEM, "this process has as many files open as it may; raise ulimit -n");
        return fail_errno(errno, "a userfaultfd, which managed ranges need, could not be made");
}

static int give(svmd_session *s, int fd) {
        Svmd__V1__UffdGive body = SVMD__V1__UFFD_GIVE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        op.op_case = SVMD__V1__OP__OP_UFFD_GIVE;
        op.uffd_give = &body;
        r = call_one_fd(s, &op, fd, &c, &result);
        if (!r)
                call_put(s, c);
        return r;
}

int uffd_get(svmd_session *s) {
        int device, fd, r;

        if (s->uffd >= 0)
                return 0;
        r = ask_device(s, &device);
        if (r)
                return r;
        r = make(device, &fd);
        close(device);
        if (r)
                return r;
        fd = descriptor_above(fd, s->descriptors_from);
        r = give(s, fd);
        if (r) {
                close(fd);
                return r;
        }
        pthread_mutex_lock(&s->lock);
        s->uffd = fd;
        pthread_mutex_unlock(&s->lock);
        return 0;
}

void uffd_forget(svmd_session *s, uint64_t start, uint64_t end) {
        struct uffdio_range range = { .start = start, .len = end - start };

        /* It fails where nothing was registered yet, which is as good. */
        if (s->uffd >= 0)
                (void)ioctl(s->uffd, UFFDIO_UNREGISTER, &range);
}

void uffd_close(svmd_session *s) {
        if (s->uffd >= 0)
                close(s->uffd);
        s->uffd = -1;
}
