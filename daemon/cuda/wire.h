#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What svmd and svmd-cuda say to one another, on a SOCK_SEQPACKET socket: a struct each way, and the next question
 * after the answer. Both sides are of one machine. A connection is for one device, which HELLO names first; with its
 * answer comes the descriptor of the connection's staging memory, through which all bytes go.
 *
 *      CREATE     new memory, zeroed; its descriptor comes with the answer     -EEXIST, -ENOMEM: the device is full
 *      EXPORT     another descriptor of a slot                                 -ENOENT
 *      RELEASE    svmd-cuda has it no longer                                   -ENOENT
 *      READ       the slot into staging                                        -ENOENT
 *      WRITE      staging into the slot                                        -ENOENT
 *      LIST       a bit for each slot that is there, in staging
 *
 * -EBADMSG: no such question. -EINVAL: no such slot. -EIO: the device has failed, and the connection ends.
 */
#define CUDA_SOCKET_NAME "cuda.sock"
#define CUDA_SLOT        (2ull << 20) /* bytes of a slot, and of staging */

enum {
        CUDA_WIRE_VERSION = 1,
        CUDA_SLOTS_MAX = 1 << 20,
        CUDA_WIRE_DEVICE = 64,
        CUDA_WIRE_WHY = 192,
};

enum cuda_question {
        CUDA_ASK_HELLO = 1,
        CUDA_ASK_CREATE,
        CUDA_ASK_EXPORT,
        CUDA_ASK_RELEASE,
        CUDA_ASK_READ,
        CUDA_ASK_WRITE,
        CUDA_ASK_LIST,
        _CUDA_ASK_N,
};

struct cuda_ask {
        uint32_t magic;
        uint16_t version, question;
        uint32_t slot;
        char device[CUDA_WIRE_DEVICE]; /* of HELLO: cuda:N, or cuda: and its PCI address */
};

struct cuda_answer {
        uint32_t magic;
        int32_t error;
        uint64_t instance;       /* of HELLO: another one has none of this one's slots */
        char why[CUDA_WIRE_WHY]; /* of an error: a sentence, or nothing */
};

struct cuda_ask cuda_wire_ask(enum cuda_question question, uint32_t slot, const char *device);
/* 0, -EBADMSG or -EPROTONOSUPPORT. The question is in its range, and the device ends. */
int cuda_wire_asked(const struct cuda_ask *ask, size_t size);
struct cuda_answer cuda_wire_answer(int error, const char *why);
/* -EBADMSG: that is no answer. */
int cuda_wire_answered(const struct cuda_answer *answer, size_t size);

/* A packet with a descriptor, or -1 for none: 0 or -errno. */
int cuda_wire_send(int socket, const void *packet, size_t size, int fd);
/* Bytes, 0: the other side has ended, or -errno. `ret_fd`: the descriptor that came along, or -1. */
int cuda_wire_receive(int socket, void *packet, size_t size, int *ret_fd);
