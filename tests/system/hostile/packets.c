#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Malformed packets: an answer or an end with a sentence, never silence. */

enum { GARBAGE = 200 };

static void send_bytes(struct raw *r, size_t size) {
        must(send(r->fd, raw_buffer, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void garbage(struct message *m) {
        for (unsigned i = 0; i < GARBAGE; i++) {
                size_t size = 1 + random_below(i % 8 ? 64 : 4096);
                struct raw r = { .fd = -1 };

                if (random_below(2))
                        raw_hello(&r, target.socket);
                else
                        r.fd = raw_connect(target.socket);
                for (size_t k = 0; k < size; k++)
                        raw_buffer[k] = (uint8_t)random_below(256);
                send_bytes(&r, size);
                must(raw_take(&r)); /* by chance it may be a request: then it has an answer */
                raw_close(&r);
        }
}

/* A right request with some bits turned. */
static void turned_bits(struct message *m) {
        Svmd__V1__Hello body = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.client = (char *)"hostile";
        body.min_version = body.max_version = SVMD_PROTOCOL_VERSION;
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &body;
        for (unsigned i = 0; i < GARBAGE; i++) {
                struct raw r = { .fd = raw_connect(target.socket) };
                size_t n = raw_pack(&op, 1);

                for (unsigned k = 0; k < 1 + i % 4; k++)
                        raw_buffer[random_below(n)] ^= (uint8_t)(1u << random_below(8));
                send_bytes(&r, n);
                must(raw_take(&r));
                raw_close(&r);
        }
}

static void too_long(struct message *m) {
        int room = 1 << 20;
        struct raw r;

        for (unsigned i = 0; i < 5; i++) {
                raw_hello(&r, target.socket);
                setsockopt(r.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
                memset(raw_buffer, 0, sizeof(raw_buffer));
                send_bytes(&r, SVMD_PACKET_MAX + 1);
                raw_expect_end(&r, SVMD_E_MALFORMED);
        }
}

/* Well-formed, and no request: no operations, number 0, more operations than a request may have. */
static void wrong_shape(struct message *m) {
        static Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[SVMD_OPS_MAX + 1];
        static Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        const size_t counts[] = { 0, 1, SVMD_OPS_MAX + 1 };

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        for (size_t i = 0; i <= SVMD_OPS_MAX; i++)
                ops[i] = &op;
        for (size_t i = 0; i < 3; i++) {
                Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
                struct raw r;

                raw_hello(&r, target.socket);
                request.id = i == 1 ? 0 : 7;
                request.n_ops = counts[i];
                request.ops = ops;
                send_bytes(&r, (size_t)encode_request(&request, raw_buffer, sizeof(raw_buffer)));
                raw_expect_end(&r, SVMD_E_MALFORMED);
        }
}

static void half_closed(struct message *m) {
        struct raw r;

        raw_hello(&r, target.socket);
        must(raw_status(&r) == 0);
        must(shutdown(r.fd, SHUT_WR) == 0);
        must(!raw_take(&r));
        raw_close(&r);
        raw_hello(&r, target.socket);
        must(shutdown(r.fd, SHUT_RD) == 0);
        raw_flood(&r);
        raw_close(&r);
}

const struct hostile_family hostile_packets = { "packets",
                                                { { .name = "garbage", .run = garbage },
                                                  { .name = "turned bits", .run = turned_bits },
                                                  { .name = "too long", .run = too_long },
                                                  { .name = "wrong shape", .run = wrong_shape },
                                                  { .name = "half closed", .run = half_closed } } };
