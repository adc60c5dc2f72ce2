#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/svmd.pb-c.h"

/*
 * Messages to bytes and back. Decoding takes its memory from a bump arena that the caller keeps
 * and empties between packets, so a message of 1,024 operations costs no malloc once the arena has grown.
 */
struct arena {
        char *block;
        size_t used, size;
        size_t overflow; /* bytes that did not fit and were taken one by one; the next reset grows the block */
        struct arena_extra *extra;
};

void arena_init(struct arena *a);
void arena_reset(struct arena *a);
void arena_fini(struct arena *a);
/* Aligned to 8, zeroed by nobody. NULL when out of memory. */
void *arena_take(struct arena *a, size_t size);

/* The message lives in the arena until it is reset. NULL: not a well-formed message, too many operations, a name that
 * is too long, or out of memory (errno: EBADMSG, ENOMEM). */
Svmd__V1__Request *decode_request(struct arena *a, const void *bytes, size_t size);
Svmd__V1__Packet *decode_packet(struct arena *a, const void *bytes, size_t size);

/* How many operations a request has, without decoding them: 1 to SVMD_OPS_MAX. Of what is no request, any of these. */
unsigned count_operations(const void *bytes, size_t size);

/* Bytes written, or -EMSGSIZE when they would be more than `room`. */
ssize_t encode_request(const Svmd__V1__Request *m, void *bytes, size_t room);
ssize_t encode_packet(const Svmd__V1__Packet *m, void *bytes, size_t room);
