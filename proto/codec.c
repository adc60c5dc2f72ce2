#include "proto/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"

/*
 * protobuf-c takes memory through an allocator that points at the arena, and gives nothing back: what a refused
 * message had taken goes with the next reset. What does not fit into the block is taken piece by piece and counted; the
 * next reset frees the pieces and grows the block by what was missing, so that packets of the usual size end up inside
 * of the block. The block stops growing at ARENA_BLOCK_MAX: one hostile packet must not keep megabytes for ever.
 */
#define ARENA_BLOCK_MAX (2u << 20)

struct arena_extra {
        struct arena_extra *next;
};

/* The pieces start behind their link, aligned to 8. */
_Static_assert(sizeof(struct arena_extra) % 8 == 0, "pieces of an arena are aligned");

void arena_init(struct arena *a) {
        *a = (struct arena){ 0 };
}

static void free_extra(struct arena *a) {
        while (a->extra) {
                struct arena_extra *e = a->extra;

                a->extra = e->next;
                free(e);
        }
}

void arena_reset(struct arena *a) {
        size_t wanted = a->size + a->overflow;
        char *block;

        free_extra(a);
        a->used = 0;
        if (!a->overflow)
                return;
        a->overflow = 0;
        wanted = wanted < ARENA_BLOCK_MAX ? wanted : ARENA_BLOCK_MAX;
        if (wanted == a->size)
                return;
        block = malloc(wanted);
        if (!block)
                return; /* the old block still serves */
        free(a->block);
        a->block = block;
        a->size = wanted;
}

void arena_fini(struct arena *a) {
        free_extra(a);
        free(a->block);
        arena_init(a);
}

static void *take_extra(struct arena *a, size_t size) {
        struct arena_extra *e = malloc(sizeof(*e) + size);

        if (!e)
                return NULL;
        e->next = a->extra;
        a->extra = e;
        a->overflow += size;
        return e + 1;
}

void *arena_take(struct arena *a, size_t size) {
        void *p;

        if (size > SIZE_MAX / 2)
                return NULL;
        size = size ? (size + 7) & ~(size_t)7 : 8;
        if (size > a->size - a->used)
                return take_extra(a, size);
        p = a->block + a->used;
        a->used += size;
        return p;
}

struct pull {
        struct arena *arena;
        int error;
};

static void *pull_alloc(void *data, size_t size) {
        struct pull *p = data;
        void *memory = arena_take(p->arena, size);

        if (!memory)
                p->error = ENOMEM;
        return memory;
}

static void pull_free(void *data, void *memory) {
}

static ProtobufCMessage *unpack(struct arena *a, const ProtobufCMessageDescriptor *type, const void *bytes,
                                size_t size) {
        struct pull pull = { .arena = a, .error = EBADMSG };
        ProtobufCAllocator allocator = { .alloc = pull_alloc, .free = pull_free, .allocator_data = &pull };
        ProtobufCMessage *m;

        if (size > SVMD_PACKET_MAX) {
                errno = EBADMSG;
                return NULL;
        }
        m = protobuf_c_message_unpack(type, &allocator, size, bytes);
        if (!m)
                errno = pull.error;
        return m;
}

/* Every string of an operation is a name, and names are bounded. */
static bool names_fit(const ProtobufCMessage *m) {
        const ProtobufCMessageDescriptor *d = m->descriptor;

        for (unsigned i = 0; i < d->n_fields; i++) {
                const char *const *s = (const void *)((const char *)m + d->fields[i].offset);

                if (d->fields[i].type == PROTOBUF_C_TYPE_STRING && *s && strnlen(*s, SVMD_NAME_MAX + 1) > SVMD_NAME_MAX)
                        return false;
        }
        return true;
}

static bool operations_fit(const Svmd__V1__Request *m) {
        if (m->n_ops > SVMD_OPS_MAX || m->n_done > SVMD_GRANTS_DONE_MAX)
                return false;
        for (size_t i = 0; i < m->n_ops; i++) {
                /* All members of the union are pointers to messages. */
                if (m->ops[i]->op_case && !names_fit((const ProtobufCMessage *)m->ops[i]->hello))
                        return false;
        }
        return true;
}

Svmd__V1__Request *decode_request(struct arena *a, const void *bytes, size_t size) {
        Svmd__V1__Request *m = (Svmd__V1__Request *)unpack(a, &svmd__v1__request__descriptor, bytes, size);

        if (m && !operations_fit(m)) {
                errno = EBADMSG;
                return NULL;
        }
        return m;
}

static bool is_reply(const Svmd__V1__Packet *m) {
        return m->packet_case == SVMD__V1__PACKET__PACKET_REPLY;
}

Svmd__V1__Packet *decode_packet(struct arena *a, const void *bytes, size_t size) {
        Svmd__V1__Packet *m = (Svmd__V1__Packet *)unpack(a, &svmd__v1__packet__descriptor, bytes, size);

        if (m && is_reply(m) && m->reply->n_results > SVMD_OPS_MAX) {
                errno = EBADMSG;
                return NULL;
        }
        return m;
}

static ssize_t encode(const ProtobufCMessage *m, void *bytes, size_t room) {
        size_t size = protobuf_c_message_get_packed_size(m);

        if (size > room)
                return -EMSGSIZE;
        return protobuf_c_message_pack(m, bytes);
}

/* ---- fields ---- */

#define TAG_VARINT(field) ((field) << 3)
#define TAG_BYTES(field)  ((field) << 3 | 2)

static uint8_t *put_varint(uint8_t *p, uint64_t n) {
        for (; n >= 0x80; n >>= 7)
                *p++ = (uint8_t)(n | 0x80);
        *p++ = (uint8_t)n;
        return p;
}

static size_t varint_size(uint64_t n) {
        size_t size = 1;

        for (; n >= 0x80; n >>= 7)
                size++;
        return size;
}

/* ---- requests ----
 *
 * An operation is one of a hundred, all of which the general encoder looks at, for the length and again for the bytes.
 * Its case says which it is, so only what that one holds is left to the general encoder. The bytes are the same.
 */
#define FIELD_OPS 3

/* All members of the union are pointers to messages. */
static const ProtobufCMessage *body_of(const Svmd__V1__Op *op) {
        return (const ProtobufCMessage *)op->hello;
}

static uint64_t tag_of(const Svmd__V1__Op *op) {
        return TAG_BYTES((uint64_t)op->op_case);
}

/* Of an operation whose body takes `body` bytes, without what is in front of it. */
static size_t op_size(const Svmd__V1__Op *op, size_t body) {
        return varint_size(tag_of(op)) + varint_size(body) + body;
}

static uint8_t *put_op(uint8_t *p, const Svmd__V1__Op *op) {
        size_t body = protobuf_c_message_get_packed_size(body_of(op));

        *p++ = TAG_BYTES(FIELD_OPS);
        p = put_varint(p, op_size(op, body));
        p = put_varint(p, tag_of(op));
        p = put_varint(p, body);
        return p + protobuf_c_message_pack(body_of(op), p);
}

/* Operations are its last field, and each has a body. */
static bool is_plain(const Svmd__V1__Request *m) {
        for (size_t i = 0; i < m->n_ops; i++)
                if (!m->ops[i]->op_case || !body_of(m->ops[i]) || m->ops[i]->base.n_unknown_fields)
                        return false;
        return !m->n_done && !m->base.n_unknown_fields;
}

ssize_t encode_request(const Svmd__V1__Request *m, void *bytes, size_t room) {
        Svmd__V1__Request head = *m;
        uint8_t *p = bytes;
        size_t size;

        if (!is_plain(m))
                return encode(&m->base, bytes, room);
        head.n_ops = 0;
        size = protobuf_c_message_get_packed_size(&head.base);
        for (size_t i = 0; i < m->n_ops && size <= room; i++) {
                size_t op = op_size(m->ops[i], protobuf_c_message_get_packed_size(body_of(m->ops[i])));

                size += 1 + varint_size(op) + op;
        }
        if (size > room)
                return -EMSGSIZE;
        p += protobuf_c_message_pack(&head.base, p);
        for (size_t i = 0; i < m->n_ops; i++)
                p = put_op(p, m->ops[i]);
        return p - (uint8_t *)bytes;
}

/* ---- replies ----
 *
 * Most results are a few numbers. The general encoder walks through a description of each, twice; these are written
 * straight from the fields, with the same bytes. Refused grants are rare, and left to it.
 */
enum { NUMBERS_MAX = 2 + 6 + 5 * 11 + 2, HEAD_MAX = 1 + 4, ID_MAX = 11 };

static uint8_t *put_number(uint8_t *p, uint8_t field, uint64_t n) {
        if (!n)
                return p;
        *p++ = TAG_VARINT(field);
        return put_varint(p, n);
}

/* Fewer than 128 bytes, so their length takes one. */
static uint8_t *put_numbers(uint8_t *p, const Svmd__V1__Result *r) {
        uint8_t *start = p;

        *p++ = TAG_BYTES(2);
        p++;
        p = put_number(p, 1, r->code);
        p = put_number(p, 3, r->id);
        p = put_number(p, 4, r->address);
        p = put_number(p, 5, r->size);
        p = put_number(p, 6, r->value);
        p = put_number(p, 7, r->generation);
        p = put_number(p, 8, r->more);
        start[1] = (uint8_t)(p - start - 2);
        return p;
}

static uint8_t *put_result(uint8_t *p, const uint8_t *end, const Svmd__V1__Result *r) {
        size_t size;

        if (!r->text[0] && r->detail_case == SVMD__V1__RESULT__DETAIL__NOT_SET)
                return end - p < NUMBERS_MAX ? NULL : put_numbers(p, r);
        size = svmd__v1__result__get_packed_size(r);
        if ((size_t)(end - p) < size + HEAD_MAX)
                return NULL;
        *p++ = TAG_BYTES(2);
        p = put_varint(p, size);
        return p + svmd__v1__result__pack(r, p);
}

/* The head holds the length of what follows it, and is written last: the body moves up to it. Where the room is so
 * small that a bound is not enough, the general encoder says exactly whether it fits. */
static ssize_t encode_reply(const Svmd__V1__Packet *whole, void *bytes, size_t room) {
        const Svmd__V1__Reply *m = whole->reply;
        uint8_t *start = bytes, *body = start + HEAD_MAX, *p = body, *end = start + room;
        size_t size;

        if (room < HEAD_MAX + ID_MAX || m->n_refused)
                return encode(&whole->base, bytes, room);
        p = put_number(p, 1, m->id);
        for (size_t i = 0; i < m->n_results; i++) {
                p = put_result(p, end, m->results[i]);
                if (!p)
                        return encode(&whole->base, bytes, room);
        }
        size = (size_t)(p - body);
        start[0] = TAG_BYTES(1);
        p = put_varint(start + 1, size);
        memmove(p, body, size);
        return p - start + (ssize_t)size;
}

ssize_t encode_packet(const Svmd__V1__Packet *m, void *bytes, size_t room) {
        return is_reply(m) ? encode_reply(m, bytes, room) : encode(&m->base, bytes, room);
}

/* ---- counting ---- */

enum { WIRE_VARINT = 0, WIRE_8_BYTES = 1, WIRE_BYTES = 2, WIRE_4_BYTES = 5 };

/* False: it ends too early. */
static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret) {
        uint64_t v = 0;

        for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
                uint8_t byte = *(*at)++;

                v |= (uint64_t)(byte & 0x7f) << shift;
                if (byte & 0x80)
                        continue;
                *ret = v;
                return true;
        }
        return false;
}

/* Behind the value of a field. False: there is nothing more that makes sense. */
static bool skip_value(const uint8_t **at, const uint8_t *end, unsigned type) {
        uint64_t n = 0;

        if (type == WIRE_VARINT)
                return take_varint(at, end, &n);
        if (type == WIRE_BYTES && !take_varint(at, end, &n))
                return false;
        if (type == WIRE_8_BYTES || type == WIRE_4_BYTES)
                n = type == WIRE_8_BYTES ? 8 : 4;
        else if (type != WIRE_BYTES)
                return false;
        if (n > (size_t)(end - *at))
                return false;
        *at += n;
        return true;
}

unsigned count_operations(const void *bytes, size_t size) {
        const uint8_t *at = bytes, *end = at + size;
        unsigned count = 0;
        uint64_t tag;

        while (count < SVMD_OPS_MAX && take_varint(&at, end, &tag) && skip_value(&at, end, tag & 7))
                count += tag == (FIELD_OPS << 3 | WIRE_BYTES);
        return count ? count : 1;
}
