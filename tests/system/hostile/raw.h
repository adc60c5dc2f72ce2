#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/codec.h"
#include "proto/fdlist.h"
#include "proto/limits.h"

/*
 * A client by hand, which speaks the protocol as it likes. What comes back is checked: svmd answers with a code and a
 * sentence, or it says why and closes.
 */
struct raw {
        int fd;
        uint64_t id; /* of the last request */
        /* of the last result */
        uint64_t object, value, address;
        char text[512];
        int passed; /* descriptor that came along, or -1 */
};

int raw_connect(const char *path);
/* Greeted. */
void raw_hello(struct raw *r, const char *path);
/* Attached to that partition ("": its default one). */
void raw_attach(struct raw *r, const char *path, const char *partition);
void raw_close(struct raw *r);

/* A request of one operation in `raw_buffer`: its bytes. */
extern uint8_t raw_buffer[2 * SVMD_PACKET_MAX];
size_t raw_pack(Svmd__V1__Op *op, uint64_t id);
/* The next packet, or NULL: the end of the connection. */
Svmd__V1__Packet *raw_take(struct raw *r);
/* The code of the one result of the next reply; events are passed over. */
unsigned raw_code(struct raw *r);
/* With a new id; `fds` may be NULL. */
void raw_send(struct raw *r, Svmd__V1__Op *op, const struct fdlist *fds);
unsigned raw_ask(struct raw *r, Svmd__V1__Op *op, const struct fdlist *fds);
unsigned raw_status(struct raw *r);
/* svmd says why and closes. */
void raw_expect_end(struct raw *r, unsigned code);
/* `count` descriptors of its own along with what is in raw_buffer. */
void raw_send_many(struct raw *r, unsigned count, size_t size);
/* Sends requests until nothing is taken any more: how many went. */
uint64_t raw_flood(struct raw *r);

/* raw_op(r, MemRelease, MEM_RELEASE, mem_release, fds, b.memory = 7) -> its code */
#define raw_op(r, Type, CASE, member, fds, ...)                                                                        \
        ({                                                                                                             \
                Svmd__V1__##Type b = SVMD__V1__##CASE##__INIT;                                                         \
                Svmd__V1__Op op_ = SVMD__V1__OP__INIT;                                                                 \
                __VA_ARGS__;                                                                                           \
                op_.op_case = SVMD__V1__OP__OP_##CASE;                                                                 \
                op_.member = &b;                                                                                       \
                raw_ask(r, &op_, fds);                                                                                 \
        })
