/* Bytes as a request and as a packet: what is decoded keeps to the bounds, and says the same when it is encoded. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/limits.h"

/* The messages in a field of `m`, and how many they are. */
static ProtobufCMessage **inside(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t *ret_count) {
        char *at = (char *)m + f->offset, *quantifier = (char *)m + f->quantifier_offset;

        *ret_count = 0;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
                return NULL;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
                *ret_count = *(size_t *)quantifier;
                return *(ProtobufCMessage ***)at;
        }
        if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(uint32_t *)quantifier == f->id)
                *ret_count = *(ProtobufCMessage **)at ? 1 : 0;
        return (ProtobufCMessage **)at;
}

/* Nobody reads fields of later versions, and protobuf-c need not write them as they came. */
static void forget_unknown(ProtobufCMessage *m) {
        m->n_unknown_fields = 0;
        for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
                size_t count;
                ProtobufCMessage **messages = inside(m, &m->descriptor->fields[i], &count);

                for (size_t k = 0; k < count; k++)
                        forget_unknown(messages[k]);
        }
}

/* Encoding a decoded message again gives the bytes that it then stands by. */
static void again(struct arena *a, const ProtobufCMessage *m) {
        size_t size = protobuf_c_message_get_packed_size(m);
        uint8_t *bytes = malloc(size + 1), *second = malloc(size + 1);
        ProtobufCMessage *copy;

        must(bytes && second);
        must(protobuf_c_message_pack(m, bytes) == size);
        copy = m->descriptor == &svmd__v1__request__descriptor ? (void *)decode_request(a, bytes, size)
                                                               : (void *)decode_packet(a, bytes, size);
        if (size <= SVMD_PACKET_MAX) {
                must(copy);
                must(protobuf_c_message_get_packed_size(copy) == size);
                must(protobuf_c_message_pack(copy, second) == size);
                must(memcmp(bytes, second, size) == 0);
        } else {
                must(!copy);
        }
        free(second);
        free(bytes);
}

static void as_request(struct arena *a, const uint8_t *bytes, size_t size) {
        Svmd__V1__Request *m;

        errno = 0;
        m = decode_request(a, bytes, size);
        if (!m) {
                must(errno == EBADMSG || errno == ENOMEM);
                return;
        }
        must(m->n_ops <= SVMD_OPS_MAX);
        forget_unknown(&m->base);
        again(a, &m->base);
}

static void as_packet(struct arena *a, const uint8_t *bytes, size_t size) {
        Svmd__V1__Packet *m;

        errno = 0;
        m = decode_packet(a, bytes, size);
        if (!m) {
                must(errno == EBADMSG || errno == ENOMEM);
                return;
        }
        if (m->packet_case == SVMD__V1__PACKET__PACKET_REPLY)
                must(m->reply->n_results <= SVMD_OPS_MAX);
        forget_unknown(&m->base);
        again(a, &m->base);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static struct arena arena; /* kept between inputs, as a connection keeps it between packets */

        arena_reset(&arena);
        as_request(&arena, bytes, size);
        arena_reset(&arena);
        as_packet(&arena, bytes, size);
        arena_reset(&arena);
        return 0;
}
