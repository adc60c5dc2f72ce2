#include "keeper/packet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union control {
        struct cmsghdr head;
        char space[CMSG_SPACE(KEEPER_BATCH * sizeof(int))];
};

void packet_init(struct keeper_message *m, enum keeper_type type, uint64_t value) {
        m->head = (struct keeper_head){
                .magic = KEEPER_MAGIC, .version = KEEPER_VERSION, .type = (uint16_t)type, .value = value
        };
}

static void attach_fds(struct msghdr *msg, union control *control, const int *fds, unsigned count) {
        size_t size = count * sizeof(int);
        struct cmsghdr *c;

        memset(control, 0, sizeof(*control));
        msg->msg_control = control;
        msg->msg_controllen = CMSG_SPACE(size);
        c = CMSG_FIRSTHDR(msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), fds, size);
}

int keeper_packet_send(int socket, const struct keeper_message *m, const int *fds, unsigned fds_count) {
        struct iovec iov = { .iov_base = (void *)m, .iov_len = keeper_message_size(&m->head) };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        union control control;
        ssize_t n;

        if (fds_count)
                attach_fds(&msg, &control, fds, fds_count);
        do
                n = sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

static void collect_fds(struct packet *p, struct msghdr *msg) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t size = c->cmsg_len - CMSG_LEN(0);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                memcpy(p->fds + p->fds_count, CMSG_DATA(c), size);
                p->fds_count += size / sizeof(int);
        }
}

static bool well_formed(const struct packet *p, size_t size, int flags) {
        const struct keeper_head *h = &p->message.head;

        return !(flags & MSG_TRUNC) && size >= sizeof(*h) && h->magic == KEEPER_MAGIC && h->count <= KEEPER_DROPS &&
               size == keeper_message_size(h);
}

/* A peer that closes with unread bytes leaves ECONNRESET here, once, in front of what it had sent before. */
static ssize_t receive(int socket, struct msghdr *msg) {
        bool reset = false;
        ssize_t n;

        for (;;) {
                n = recvmsg(socket, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                if (n >= 0)
                        return n;
                if (errno == ECONNRESET && !reset)
                        reset = true;
                else if (errno != EINTR)
                        return -errno;
        }
}

int packet_receive(int socket, struct packet *p) {
        union control control;
        struct iovec iov = { .iov_base = &p->message, .iov_len = sizeof(p->message) };
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n;

        n = receive(socket, &msg);
        if (n < 0)
                return (int)n;
        p->fds_count = 0;
        collect_fds(p, &msg);
        p->fds_lost = msg.msg_flags & MSG_CTRUNC;
        if (n == 0 && p->fds_count == 0)
                return PACKET_E_END;
        if (!well_formed(p, (size_t)n, msg.msg_flags)) {
                packet_close_fds(p);
                return PACKET_E_MALFORMED;
        }
        return 0;
}

void packet_close_fds(struct packet *p) {
        for (unsigned i = 0; i < p->fds_count; i++)
                close(p->fds[i]);
        p->fds_count = 0;
}

int packet_address(struct sockaddr_un *ret, const char *runtime_dir) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/" KEEPER_SOCKET_NAME, runtime_dir);

        if (n < 0 || (size_t)n >= sizeof(a.sun_path))
                return -ENAMETOOLONG;
        *ret = a;
        return 0;
}
