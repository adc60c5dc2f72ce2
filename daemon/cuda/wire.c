#include "cuda/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0x64756376, ERRNO_MOST = 4095 };

struct cuda_ask cuda_wire_ask(enum cuda_question question, uint32_t slot, const char *device) {
        struct cuda_ask a = { MAGIC, CUDA_WIRE_VERSION, (uint16_t)question, slot, "" };

        snprintf(a.device, sizeof(a.device), "%s", device);
        return a;
}

int cuda_wire_asked(const struct cuda_ask *a, size_t size) {
        if (size != sizeof(*a) || a->magic != MAGIC)
                return -EBADMSG;
        if (a->version != CUDA_WIRE_VERSION)
                return -EPROTONOSUPPORT;
        if (a->question < CUDA_ASK_HELLO || a->question >= _CUDA_ASK_N || !memchr(a->device, 0, sizeof(a->device)))
                return -EBADMSG;
        return 0;
}

struct cuda_answer cuda_wire_answer(int error, const char *why) {
        struct cuda_answer a = { .magic = MAGIC, .error = error };

        snprintf(a.why, sizeof(a.why), "%s", why);
        return a;
}

int cuda_wire_answered(const struct cuda_answer *a, size_t size) {
        bool ok = size == sizeof(*a) && a->magic == MAGIC && a->error <= 0 && a->error >= -ERRNO_MOST &&
                  memchr(a->why, 0, sizeof(a->why));

        return ok ? a->error : -EBADMSG;
}

int cuda_wire_send(int socket, const void *packet, size_t size, int fd) {
        struct iovec io = { (void *)packet, size };
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
        struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
        ssize_t n;

        if (fd >= 0) {
                struct cmsghdr *c;

                m.msg_control = control;
                m.msg_controllen = sizeof(control);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        do
                n = sendmsg(socket, &m, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n == (ssize_t)size ? 0 : -EIO;
}

/* What more came than one was asked for is refused, and the kernel has closed it. */
int cuda_wire_receive(int socket, void *packet, size_t size, int *ret_fd) {
        struct iovec io = { packet, size };
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        struct msghdr m = {
                .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        const struct cmsghdr *c;
        int fd = -1;
        ssize_t n;

        do
                n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        c = CMSG_FIRSTHDR(&m);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(&fd, CMSG_DATA(c), sizeof(int));
        if (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
                if (fd >= 0)
                        close(fd);
                return -EBADMSG;
        }
        *ret_fd = fd;
        return (int)n;
}
