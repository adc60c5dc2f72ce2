#include "proto/socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/fdlist.h"

/* Room for the descriptors, and for the credentials that a socket with SO_PASSCRED adds to every packet. Without
 * credentials a few more descriptors than a list takes fit in; fdlist_add() refuses those. */
union control {
        char bytes[CMSG_SPACE(SVMD_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
};

static int add_or_close(struct fdlist *l, int fd) {
        int r = fdlist_add(l, fd);

        if (r < 0)
                close(fd);
        return r;
}

static bool holds_descriptors(const struct cmsghdr *c) {
        return c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS;
}

/* All that the kernel installed are taken into account, so that none leaks; false when some did not fit. */
static bool take_descriptors(struct msghdr *msg, struct fdlist *fds) {
        bool fit = true;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                int fd;

                for (size_t i = 0; holds_descriptors(c) && i < count; i++) {
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        fit = add_or_close(fds, fd) == 0 && fit;
                }
        }
        return fit && !(msg->msg_flags & MSG_CTRUNC);
}

static void close_from(struct fdlist *fds, unsigned count) {
        while (fds->count > count)
                close(fds->fd[--fds->count]);
}

ssize_t packet_recv(int socket, void *bytes, size_t room, struct fdlist *fds, int flags) {
        union control control;
        struct iovec iov = { .iov_base = bytes, .iov_len = room };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        unsigned before = fds->count;
        ssize_t n;

        do
                n = recvmsg(socket, &msg, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (!take_descriptors(&msg, fds))
                n = -EBADMSG;
        else if (msg.msg_flags & MSG_TRUNC)
                n = -EMSGSIZE;
        if (n <= 0)
                close_from(fds, before);
        return n;
}

static void put_descriptors(struct msghdr *msg, union control *control, const struct fdlist *fds) {
        size_t size = fdlist_left(fds) * sizeof(int);
        struct cmsghdr *c;

        memset(control, 0, sizeof(*control));
        msg->msg_control = control;
        msg->msg_controllen = CMSG_SPACE(size);
        c = CMSG_FIRSTHDR(msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), fds->fd + fds->next, size);
}

int packet_send(int socket, const void *bytes, size_t size, const struct fdlist *fds, int flags) {
        union control control;
        struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (fds && fdlist_left(fds))
                put_descriptors(&msg, &control, fds);
        do
                n = sendmsg(socket, &msg, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}
