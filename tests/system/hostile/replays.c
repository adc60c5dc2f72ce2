#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Requests again, out of order, and on other connections. */

static size_t status_packet(uint64_t id) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        return raw_pack(&op, id);
}

static void send_status(struct raw *r, uint64_t id) {
        size_t n = status_packet(id);

        must(send(r->fd, raw_buffer, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static void same_number(struct message *m) {
        struct raw r;

        raw_hello(&r, target.socket);
        send_status(&r, 5);
        must(raw_code(&r) == 0);
        send_status(&r, 5);
        raw_expect_end(&r, SVMD_E_MALFORMED);
}

static void older_number(struct message *m) {
        for (uint64_t older = 1; older < 8; older++) {
                struct raw r;

                raw_hello(&r, target.socket);
                send_status(&r, 9);
                must(raw_code(&r) == 0);
                send_status(&r, older);
                raw_expect_end(&r, SVMD_E_MALFORMED);
        }
}

static void last_number(struct message *m) {
        struct raw r;

        raw_hello(&r, target.socket);
        send_status(&r, UINT64_MAX);
        must(raw_code(&r) == 0);
        send_status(&r, 1);
        raw_expect_end(&r, SVMD_E_MALFORMED);
}

/* What made memory in one session, byte by byte in another: it makes the other's own. */
static void another_session(struct message *m) {
        static uint8_t kept[512];
        Svmd__V1__MemCreate body = SVMD__V1__MEM_CREATE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct raw a, c;
        uint64_t first;
        size_t n;

        raw_attach(&a, target.socket, HOSTILE_PARTITION);
        raw_attach(&c, target.socket, HOSTILE_PARTITION);
        body.node = target.gpu;
        body.size = 4096;
        op.op_case = SVMD__V1__OP__OP_MEM_CREATE;
        op.mem_create = &body;
        n = raw_pack(&op, 100);
        must(n < sizeof(kept));
        memcpy(kept, raw_buffer, n);
        must(send(a.fd, kept, n, MSG_NOSIGNAL) == (ssize_t)n);
        must(raw_code(&a) == 0);
        first = a.object;
        must(send(c.fd, kept, n, MSG_NOSIGNAL) == (ssize_t)n);
        must(raw_code(&c) == 0);
        must(c.object != first);
        c.id = 200;
        must(raw_op(&c, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = first) != 0);
        raw_close(&a);
        raw_close(&c);
}

/* Attached before it is greeted, greeted twice, attached twice, and work before either. */
static void out_of_order(struct message *m) {
        struct raw r = { .fd = raw_connect(target.socket) };

        must(raw_op(&r, Attach, ATTACH, attach, NULL, b.any_window = true) != 0);
        raw_close(&r);
        r = (struct raw){ .fd = raw_connect(target.socket) };
        must(raw_op(&r, Reserve, RESERVE, reserve, NULL, b.size = 4096) != 0);
        raw_close(&r);
        raw_attach(&r, target.socket, "");
        must(raw_op(&r, Attach, ATTACH, attach, NULL, b.any_window = true) != 0);
        must(raw_op(&r, Hello, HELLO, hello, NULL, b.min_version = b.max_version = SVMD_PROTOCOL_VERSION) != 0);
        must(raw_status(&r) == 0);
        raw_close(&r);
}

const struct hostile_family hostile_replays = { "replays",
                                                { { .name = "the same number", .run = same_number },
                                                  { .name = "an older number", .run = older_number },
                                                  { .name = "the last number", .run = last_number },
                                                  { .name = "another session", .run = another_session },
                                                  { .name = "out of order", .run = out_of_order } } };
