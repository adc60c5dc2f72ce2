#include "smi/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/smi.h"
#include "base/alloc.h"
#include "smi/wire.h"

/* What a step does at most: so many streams, so many reads of each. Where a stream has more, the next step goes on. 1
 * KiB is the most that the kernel keeps for one; some kernels give 8 bytes of it a read. */
enum { READY = 16, READS = 16, READ_SIZE = 1024, CONNECTION = SMI_STREAMS_MAX };

struct stream {
        int fd; /* -1: it has ended */
        uint32_t gpu;
        struct smi lines;
};

struct smi_listener {
        struct sockaddr_un address;
        int epoll, connection; /* connection -1: there is none */
        struct stream streams[SMI_STREAMS_MAX];
        uint32_t count;
        struct smi_heard heard;
};

int smi_listener_new(struct smi_listener **ret, const char *socket) {
        struct smi_listener *l;
        int fd;

        if (strlen(socket) >= sizeof(l->address.sun_path))
                return -ENAMETOOLONG;
        fd = epoll_create1(EPOLL_CLOEXEC);
        if (fd < 0)
                return -errno;
        l = alloc_zero(sizeof(*l));
        if (!l) {
                close(fd);
                return -ENOMEM;
        }
        l->epoll = fd;
        l->connection = -1;
        l->address.sun_family = AF_UNIX;
        snprintf(l->address.sun_path, sizeof(l->address.sun_path), "%s", socket);
        *ret = l;
        return 0;
}

static void hang_up(struct smi_listener *l) {
        if (l->connection >= 0)
                close(l->connection);
        l->connection = -1;
}

void smi_listener_free(struct smi_listener *l) {
        if (!l)
                return;
        hang_up(l);
        for (uint32_t i = 0; i < l->count; i++)
                if (l->streams[i].fd >= 0)
                        close(l->streams[i].fd);
        close(l->epoll);
        alloc_free(l);
}

int smi_listener_fd(const struct smi_listener *l) {
        return l->epoll;
}

const struct smi_heard *smi_listener_heard(const struct smi_listener *l) {
        return &l->heard;
}

static int watch(const struct smi_listener *l, int fd, uint32_t what) {
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = what };

        return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* ---- asking ---- */

__attribute__((format(printf, 2, 3))) static void failed(struct smi_listener *l, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(l->heard.why, sizeof(l->heard.why), format, ap);
        va_end(ap);
        l->heard.asked = SMI_FAILED;
}

/* Of a socket that a service manager holds it is that one's. */
static bool is_trusted(struct smi_listener *l) {
        struct ucred peer = { .uid = (uid_t)-1 };
        socklen_t size = sizeof(peer);

        if (getsockopt(l->connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
            (peer.uid == 0 || peer.uid == geteuid()))
                return true;
        failed(l, "user %u listens at %s, and only root and svmd's own user may", peer.uid, l->address.sun_path);
        return false;
}

void smi_listener_ask(struct smi_listener *l, bool anew) {
        int r;

        if (!anew && l->heard.asked == SMI_ANSWERED && l->heard.streams && !l->heard.ended && !l->heard.error)
                return;
        hang_up(l);
        l->connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        r = l->connection < 0 ? -errno : 0;
        if (r == 0 && connect(l->connection, (struct sockaddr *)&l->address, sizeof(l->address)) < 0)
                r = -errno;
        if (r == 0 && is_trusted(l)) {
                r = watch(l, l->connection, CONNECTION);
                l->heard.asked = SMI_ASKED;
        }
        if (r == -ENOENT || r == -ECONNREFUSED)
                l->heard.asked = SMI_NOBODY;
        else if (r < 0)
                failed(l, "%s cannot be connected to: %s", l->address.sun_path, strerror(-r));
        if (l->heard.asked != SMI_ASKED)
                hang_up(l);
}

/* ---- the answer ---- */

struct packet {
        char bytes[SMI_WIRE_ROOM + 1];
        ssize_t size;
        int fds[SMI_STREAMS_MAX];
        unsigned fds_count;
        bool cut;
};

/* False: nothing has come yet. */
static bool receive(int fd, struct packet *p) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(p->fds))];
        } control;
        struct iovec bytes = { p->bytes, sizeof(p->bytes) };
        struct msghdr m = { .msg_iov = &bytes,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes) };

        p->fds_count = 0;
        p->size = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (p->size < 0)
                return errno != EAGAIN && errno != EINTR;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
                size_t size = c->cmsg_len - CMSG_LEN(0);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                memcpy(p->fds + p->fds_count, CMSG_DATA(c), size);
                p->fds_count += (unsigned)(size / sizeof(int));
        }
        p->cut = m.msg_flags & MSG_CTRUNC;
        return true;
}

static void stream_end(struct smi_listener *l, struct stream *s) {
        close(s->fd);
        s->fd = -1;
        l->heard.streams--;
        l->heard.ended++;
}

/* It takes the descriptor over. What cannot be waited for (a file) is no stream. */
static void take_stream(struct smi_listener *l, uint32_t gpu, int fd) {
        struct stream *s = l->streams;

        while (s < l->streams + l->count && s->gpu != gpu)
                s++;
        if (s < l->streams + l->count && s->fd >= 0) {
                close(fd);
                return;
        }
        if (s == l->streams + SMI_STREAMS_MAX) {
                close(fd); /* so many GPUs came and went */
                return;
        }
        if (s == l->streams + l->count)
                l->count++;
        else
                l->heard.ended--;
        *s = (struct stream){ .fd = fd, .gpu = gpu };
        l->heard.streams++;
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || watch(l, fd, (uint32_t)(s - l->streams)) < 0)
                stream_end(l, s);
}

static void take_answer(struct smi_listener *l) {
        struct smi_answer a;
        struct packet p;
        int r;

        if (!receive(l->connection, &p))
                return;
        hang_up(l);
        r = p.size > 0 ? smi_wire_get(p.bytes, (size_t)p.size, p.fds_count, &a) : -ECONNRESET;
        if (p.size > 0 && p.cut)
                r = -EMFILE;
        for (unsigned i = 0; i < p.fds_count; i++)
                if (r == 0)
                        take_stream(l, a.gpus[i], p.fds[i]);
                else
                        close(p.fds[i]);
        if (r == 0) {
                l->heard.asked = SMI_ANSWERED;
                l->heard.error = a.error;
        } else {
                failed(l, "%s",
                       r == -ECONNRESET        ? "svmd-smi ended without an answer; see systemctl status svmd-smi"
                       : r == -EPROTONOSUPPORT ? "svmd-smi is of another version than svmd; restart svmd-smi.socket"
                       : r == -EMFILE          ? "svmd may have no more descriptors: raise LimitNOFILE of its unit"
                                               : "what svmd-smi answers is no list of streams");
        }
}

/* ---- streams ---- */

static void read_stream(struct smi_listener *l, struct stream *s,
                        void (*call)(void *userdata, const struct smi_event *event), void *userdata) {
        const struct smi before = s->lines;
        char bytes[READ_SIZE];

        for (unsigned i = 0; s->fd >= 0 && i < READS; i++) {
                ssize_t n = read(s->fd, bytes, sizeof(bytes));

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        break;
                if (n <= 0)
                        stream_end(l, s);
                else
                        smi_feed(&s->lines, bytes, (size_t)n, call, userdata);
        }
        l->heard.events += s->lines.events - before.events;
        l->heard.unknown += s->lines.unknown - before.unknown;
        l->heard.broken += s->lines.broken - before.broken;
}

/* The kernel puts who was ready behind the others. */
void smi_listener_step(struct smi_listener *l, void (*call)(void *userdata, const struct smi_event *event),
                       void *userdata) {
        struct epoll_event ready[READY];
        int n = epoll_wait(l->epoll, ready, READY, 0);

        for (int i = 0; i < n; i++) {
                if (ready[i].data.u32 == CONNECTION)
                        take_answer(l);
                else
                        read_stream(l, &l->streams[ready[i].data.u32], call, userdata);
        }
}
