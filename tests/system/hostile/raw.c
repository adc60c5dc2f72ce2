#include "hostile/raw.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "proto/socket.h"
#include "svmd.h"

uint8_t raw_buffer[2 * SVMD_PACKET_MAX];
static struct arena arena;

int raw_connect(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        strcpy(a.sun_path, path);
        must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
        return fd;
}

size_t raw_pack(Svmd__V1__Op *op, uint64_t id) {
        Svmd__V1__Request r = SVMD__V1__REQUEST__INIT;
        ssize_t n;

        r.id = id;
        r.n_ops = 1;
        r.ops = &op;
        n = encode_request(&r, raw_buffer, sizeof(raw_buffer));
        must(n > 0);
        return (size_t)n;
}

Svmd__V1__Packet *raw_take(struct raw *r) {
        struct pollfd p = { .fd = r->fd, .events = POLLIN };
        struct fdlist fds;
        ssize_t n;

        must(poll(&p, 1, CEILING_MS) == 1);
        fdlist_init(&fds);
        n = packet_recv(r->fd, raw_buffer, SVMD_PACKET_MAX, &fds, 0);
        r->passed = n > 0 && fdlist_left(&fds) > 0 ? fdlist_steal(&fds) : -1;
        fdlist_close(&fds);
        if (n <= 0)
                return NULL;
        arena_reset(&arena);
        return decode_packet(&arena, raw_buffer, (size_t)n);
}

unsigned raw_code(struct raw *r) {
        for (;;) {
                Svmd__V1__Packet *p = raw_take(r);
                const Svmd__V1__Result *result;

                must(p);
                if (p->packet_case != SVMD__V1__PACKET__PACKET_REPLY)
                        continue;
                must(p->reply->n_results == 1);
                result = p->reply->results[0];
                r->object = result->id;
                r->value = result->value;
                r->address = result->address;
                snprintf(r->text, sizeof(r->text), "%s", result->text);
                must(result->code == 0 || strlen(result->text) > 8);
                return result->code;
        }
}

void raw_send(struct raw *r, Svmd__V1__Op *op, const struct fdlist *fds) {
        must(packet_send(r->fd, raw_buffer, raw_pack(op, ++r->id), fds, 0) == 0);
}

unsigned raw_ask(struct raw *r, Svmd__V1__Op *op, const struct fdlist *fds) {
        raw_send(r, op, fds);
        return raw_code(r);
}

unsigned raw_status(struct raw *r) {
        return raw_op(r, Status, STATUS, status, NULL, (void)0);
}

/* False: there are too many sessions. */
static bool greet(struct raw *r, const char *path) {
        Svmd__V1__Hello body = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        Svmd__V1__Packet *p;

        *r = (struct raw){ .fd = raw_connect(path), .passed = -1 };
        body.min_version = body.max_version = SVMD_PROTOCOL_VERSION;
        body.client = (char *)"hostile";
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &body;
        /* Where it was refused already it is closed at the other end, and says why. */
        packet_send(r->fd, raw_buffer, raw_pack(&op, ++r->id), NULL, MSG_NOSIGNAL);
        p = raw_take(r);
        if (!p) /* the reset that comes of closing with our hello unread is told before what was queued */
                p = raw_take(r);
        must(p);
        if (p->packet_case == SVMD__V1__PACKET__PACKET_REPLY) {
                must(p->reply->n_results == 1 && p->reply->results[0]->code == 0);
                return true;
        }
        must(p->event->event_case == SVMD__V1__EVENT__EVENT_END && p->event->end->code == SVMD_E_QUOTA);
        raw_close(r);
        return false;
}

/* Connections that were closed just now may count still. */
void raw_hello(struct raw *r, const char *path) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!greet(r, path)) {
                must(now_ms() < until);
                usleep(1000);
        }
}

void raw_attach(struct raw *r, const char *path, const char *partition) {
        raw_hello(r, path);
        must(raw_op(r, Attach, ATTACH, attach, NULL, b.partition = (char *)partition; b.any_window = true) == 0);
}

void raw_close(struct raw *r) {
        close(r->fd);
        r->fd = -1;
}

void raw_expect_end(struct raw *r, unsigned code) {
        Svmd__V1__Packet *p;

        do
                p = raw_take(r);
        while (p && p->packet_case == SVMD__V1__PACKET__PACKET_REPLY);
        must(p && p->packet_case == SVMD__V1__PACKET__PACKET_EVENT);
        must(p->event->event_case == SVMD__V1__EVENT__EVENT_END && p->event->end->code == code);
        must(strlen(p->event->end->text) > 10);
        must(!raw_take(r));
        raw_close(r);
}

void raw_send_many(struct raw *r, unsigned count, size_t size) {
        static char control[CMSG_SPACE(253 * sizeof(int))];
        struct iovec iov = { raw_buffer, size };
        struct msghdr h = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        int *fds = (int *)CMSG_DATA(c);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (unsigned i = 0; i < count; i++)
                fds[i] = STDERR_FILENO;
        must(sendmsg(r->fd, &h, MSG_NOSIGNAL) == (ssize_t)size);
}

uint64_t raw_flood(struct raw *r) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct pollfd p = { .fd = r->fd, .events = POLLOUT };
        uint64_t went = 0;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        for (unsigned full = 0; full < 20;) {
                int k = packet_send(r->fd, raw_buffer, raw_pack(&op, r->id + 1), NULL, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k == 0) {
                        r->id++;
                        went++;
                } else if (k != -EAGAIN) {
                        break;
                } else if (poll(&p, 1, 10) == 0) {
                        full++;
                }
        }
        return went;
}
