/*
 * Clients that do not keep to the protocol, on sockets of their own: whatever they send or do not read, others are
 * served, svmd's memory stays bounded, and it keeps none of their descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "proto/codec.h"
#include "proto/fdlist.h"
#include "proto/limits.h"
#include "proto/socket.h"

enum { GARBAGE = 400, EVENTS = 600 };

static struct daemon d;
static svmd_session *watcher, *other;
static struct arena arena;
static uint8_t buffer[2 * SVMD_PACKET_MAX];

/* ---- a client by hand ---- */

static int raw_connect(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        strcpy(a.sun_path, path);
        must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
        return fd;
}

static size_t pack(Svmd__V1__Op *op, uint64_t id) {
        Svmd__V1__Request r = SVMD__V1__REQUEST__INIT;
        ssize_t n;

        r.id = id;
        r.n_ops = 1;
        r.ops = &op;
        n = encode_request(&r, buffer, sizeof(buffer));
        must(n > 0);
        return (size_t)n;
}

/* NULL: the end of the connection. */
static Svmd__V1__Packet *take(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        struct fdlist fds;
        ssize_t n;

        must(poll(&p, 1, CEILING_MS) == 1);
        fdlist_init(&fds);
        n = packet_recv(fd, buffer, SVMD_PACKET_MAX, &fds, 0);
        fdlist_close(&fds);
        if (n <= 0)
                return NULL;
        arena_reset(&arena);
        return decode_packet(&arena, buffer, (size_t)n);
}

/* The code of the one result of the next reply; events are passed over. */
static unsigned take_code(int fd, uint64_t *ret_id) {
        for (;;) {
                Svmd__V1__Packet *p = take(fd);

                must(p);
                if (p->packet_case != SVMD__V1__PACKET__PACKET_REPLY)
                        continue;
                must(p->reply->n_results == 1);
                if (ret_id)
                        *ret_id = p->reply->results[0]->id;
                return p->reply->results[0]->code;
        }
}

static unsigned ask(int fd, Svmd__V1__Op *op, uint64_t id, const struct fdlist *fds, uint64_t *ret_id) {
        must(packet_send(fd, buffer, pack(op, id), fds, 0) == 0);
        return take_code(fd, ret_id);
}

static unsigned ask_status(int fd, uint64_t id, const struct fdlist *fds) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        return ask(fd, &op, id, fds, NULL);
}

static int raw_hello(const char *path) {
        Svmd__V1__Hello body = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int fd = raw_connect(path);

        body.min_version = body.max_version = SVMD_PROTOCOL_VERSION;
        body.client = (char *)"hostile";
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &body;
        must(ask(fd, &op, 1, NULL, NULL) == 0);
        return fd;
}

/* svmd says why and closes. */
static void expect_end(int fd, unsigned code) {
        Svmd__V1__Packet *p = take(fd);

        must(p && p->packet_case == SVMD__V1__PACKET__PACKET_EVENT);
        must(p->event->event_case == SVMD__V1__EVENT__EVENT_END && p->event->end->code == code);
        must(strlen(p->event->end->text) > 10);
        must(!take(fd));
        close(fd);
}

static void others_are_served(void) {
        void *at;

        ok(svmd_address_reserve(other, &at, 4096, 0, NULL, NULL));
        ok(svmd_address_free(other, at));
}

/* ---- what they send ---- */

static void garbage(void) {
        for (unsigned i = 0; i < GARBAGE; i++) {
                size_t size = 1 + random_below(i % 8 ? 64 : 4096);
                int fd = random_below(2) ? raw_hello(d.socket) : raw_connect(d.socket);
                Svmd__V1__Packet *p;

                for (size_t k = 0; k < size; k++)
                        buffer[k] = (uint8_t)random_below(256);
                must(send(fd, buffer, size, MSG_NOSIGNAL) == (ssize_t)size);
                p = take(fd); /* by chance it may be a request: then it has an answer */
                must(p);
                close(fd);
                if (i % 16 == 0)
                        others_are_served();
        }
}

/* A right request with some bits turned: an answer or an end, never silence. */
static void turned_bits(void) {
        Svmd__V1__Hello body = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.client = (char *)"hostile";
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &body;
        for (unsigned i = 0; i < GARBAGE; i++) {
                int fd = raw_connect(d.socket);
                size_t n;

                body.min_version = body.max_version = SVMD_PROTOCOL_VERSION;
                n = pack(&op, 1);
                for (unsigned k = 0; k < 1 + i % 4; k++)
                        buffer[random_below(n)] ^= (uint8_t)(1u << random_below(8));
                must(send(fd, buffer, n, MSG_NOSIGNAL) == (ssize_t)n);
                must(take(fd));
                close(fd);
        }
}

static void too_long(void) {
        int fd = raw_hello(d.socket);
        int room = 1 << 20;

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        memset(buffer, 0, sizeof(buffer));
        must(send(fd, buffer, SVMD_PACKET_MAX + 1, MSG_NOSIGNAL) == SVMD_PACKET_MAX + 1);
        expect_end(fd, SVMD_E_MALFORMED);
        others_are_served();
}

static void send_many_fds(int fd, unsigned count, const void *bytes, size_t size) {
        static char control[CMSG_SPACE(253 * sizeof(int))];
        struct iovec iov = { (void *)bytes, size };
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
        must(sendmsg(fd, &h, MSG_NOSIGNAL) == (ssize_t)size);
}

static void many_descriptors(void) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int fd = raw_hello(d.socket);

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        for (unsigned i = 0; i < 20; i++) {
                unsigned count = i ? 1 + (unsigned)random_below(SVMD_FDS_MAX) : SVMD_FDS_MAX;

                send_many_fds(fd, count, buffer, pack(&op, 2 + i));
                must(take_code(fd, NULL) == SVMD_E_FD_COUNT);
        }
        must(ask_status(fd, 100, NULL) == 0);
        close(fd);
        for (unsigned i = 0; i < 10; i++) {
                fd = raw_hello(d.socket);
                send_many_fds(fd, SVMD_FDS_MAX + 1 + (unsigned)random_below(253 - SVMD_FDS_MAX), buffer, pack(&op, 2));
                expect_end(fd, SVMD_E_MALFORMED);
        }
        others_are_served();
}

static void half_closed(void) {
        int fd = raw_hello(d.socket);

        must(ask_status(fd, 2, NULL) == 0);
        must(shutdown(fd, SHUT_WR) == 0);
        must(!take(fd));
        close(fd);
        fd = raw_hello(d.socket);
        must(shutdown(fd, SHUT_RD) == 0);
        for (uint64_t id = 2; id < 50; id++) {
                Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
                Svmd__V1__Op op = SVMD__V1__OP__INIT;

                op.op_case = SVMD__V1__OP__OP_STATUS;
                op.status = &body;
                if (packet_send(fd, buffer, pack(&op, id), NULL, MSG_NOSIGNAL) < 0)
                        break;
        }
        close(fd);
        others_are_served();
}

/* ---- what they do not read ---- */

/* Sends until nothing is taken any more; how many went. */
static uint64_t flood(int fd) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        uint64_t id = 2;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        for (unsigned full = 0; full < 20; id++) {
                while (packet_send(fd, buffer, pack(&op, id), NULL, MSG_DONTWAIT | MSG_NOSIGNAL) == -EAGAIN &&
                       full < 20)
                        if (poll(&p, 1, 10) == 0)
                                full++;
        }
        return id - 3; /* the last one did not go */
}

/* AddressSanitizer keeps back what was freed; ThreadSanitizer has several bytes of its own to each byte that is
 * touched, and a history of each thread. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEPT_BACK (256u << 20)
#else
#define KEPT_BACK 0u
#endif

static void never_reads(void) {
        enum { DEAF = 8 };
        uint64_t before = process_rss(d.pid), sent[DEAF];
        int fd[DEAF];

        for (unsigned i = 0; i < DEAF; i++) {
                fd[i] = raw_hello(d.socket);
                sent[i] = flood(fd[i]);
                must(sent[i] > 0 && sent[i] < 100000);
                others_are_served();
        }
        printf("a client that reads nothing: %llu requests taken or queued; svmd grew by %lld KiB for %d of them\n",
               (unsigned long long)sent[0], (long long)(process_rss(d.pid) - before) / 1024, DEAF);
        must(process_rss(d.pid) < before + DEAF * (1u << 20) + (8u << 20) + KEPT_BACK);
        for (uint64_t i = 0; i < sent[0]; i++) /* late is not lost */
                must(take_code(fd[0], NULL) == 0);
        for (unsigned i = 0; i < DEAF; i++)
                close(fd[i]);
}

/* A monitor that does not read is told how much it missed, exactly. */
static void slow_monitor(void) {
        Svmd__V1__Monitor body = SVMD__V1__MONITOR__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        uint64_t before = process_rss(d.pid), got = 0, dropped = 0;
        int fd = raw_hello(d.admin);

        body.on = true;
        op.op_case = SVMD__V1__OP__OP_MONITOR;
        op.monitor = &body;
        must(ask(fd, &op, 2, NULL, NULL) == 0);
        for (unsigned i = 0; i < EVENTS; i++) {
                svmd_session *s;

                connect_to(&s, d.socket, "lab");
                svmd_disconnect(s);
        }
        await_settled(watcher, &d, 0, 0);
        for (struct svmd_status st = { 0 };; usleep(1000)) {
                status_of(watcher, &st);
                if (st.sessions == 3)
                        break;
        }
        must(process_rss(d.pid) < before + (16u << 20) + KEPT_BACK);
        /* What is queued comes, and then, by itself, how many came not. */
        while (got + dropped < 2 * EVENTS) {
                Svmd__V1__Packet *packet = take(fd);

                must(packet && packet->packet_case == SVMD__V1__PACKET__PACKET_EVENT);
                got += packet->event->event_case == SVMD__V1__EVENT__EVENT_MONITOR;
                dropped += packet->event->dropped;
        }
        printf("a slow monitor: %llu events came, %llu were counted as dropped\n", (unsigned long long)got,
               (unsigned long long)dropped);
        must(dropped > 0 && got + dropped == 2 * EVENTS);
        close(fd);
}

/* ---- descriptors of a wrong kind ---- */

static int attach_raw(uint64_t *ret_space) {
        Svmd__V1__Attach attach = SVMD__V1__ATTACH__INIT;
        Svmd__V1__SpaceCreate space = SVMD__V1__SPACE_CREATE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int fd = raw_hello(d.socket);

        attach.partition = (char *)"lab";
        attach.any_window = true; /* it maps nothing */
        op.op_case = SVMD__V1__OP__OP_ATTACH;
        op.attach = &attach;
        must(ask(fd, &op, 2, NULL, NULL) == 0);
        space.node = node_named(watcher, "gpu0");
        op.op_case = SVMD__V1__OP__OP_SPACE_CREATE;
        op.space_create = &space;
        must(ask(fd, &op, 3, NULL, ret_space) == 0);
        return fd;
}

static unsigned submit_raw(int fd, uint64_t space, uint64_t id, int notify) {
        Svmd__V1__Submit body = SVMD__V1__SUBMIT__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct fdlist fds;

        body.space = space;
        body.op = SVMD__V1__DEVICE_OP__DEVICE_FILL;
        body.dst = 4096 * 1024;
        body.size = 4096;
        body.notify = true;
        op.op_case = SVMD__V1__OP__OP_SUBMIT;
        op.submit = &body;
        fdlist_init(&fds);
        must(fdlist_add(&fds, notify) == 0);
        return ask(fd, &op, id, &fds, NULL);
}

static void wrong_eventfds(void) {
        uint64_t space, id = 4;
        int fd = attach_raw(&space), pipes[2], good;

        must(pipe(pipes) == 0);
        const int wrong[] = { pipes[1], fd, open("/dev/null", O_RDWR), memfd_create("x", 0) };
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                must(submit_raw(fd, space, id++, wrong[i]) == SVMD_E_FD_KIND);
        good = eventfd(0, 0);
        must(submit_raw(fd, space, id++, good) == 0);
        must(poll(&(struct pollfd){ .fd = good, .events = POLLIN }, 1, CEILING_MS) == 1);
        must(read(good, &space, 8) == 8 && space == 1);
        close(fd);
        close(pipes[0]);
        close(pipes[1]);
        close(wrong[2]);
        close(wrong[3]);
        close(good);
}

/* An eventfd that is full, and made blocking again behind svmd's back, would hold up whoever writes to it. */
static void full_eventfd(void) {
        uint64_t space, full = UINT64_MAX - 1;
        int fd = attach_raw(&space), e = eventfd(0, 0);

        must(write(e, &full, sizeof(full)) == sizeof(full));
        for (uint64_t id = 4; id < 200; id++) {
                must(submit_raw(fd, space, id, e) == 0);
                fcntl(e, F_SETFL, 0);
        }
        others_are_served();
        close(fd);
        close(e);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=16M", "--log-level", "warning", NULL };
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        unsigned fds;

        harness_begin("system_hostile");
        arena_init(&arena);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        connect_to(&other, d.socket, "lab");
        fds = process_fds_at_rest(d.pid);
        garbage();
        turned_bits();
        too_long();
        many_descriptors();
        half_closed();
        never_reads();
        slow_monitor();
        wrong_eventfds();
        full_eventfd();
        await_settled(watcher, &d, fds, 0);
        svmd_disconnect(other);
        svmd_disconnect(watcher);
        arena_fini(&arena);
        daemon_end(&d);
        return 0;
}
