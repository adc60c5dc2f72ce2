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
        if (m->n_ops > SVMD_OPS_MAX)
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

ssize_t encode_request(const Svmd__V1__Request *m, void *bytes, size_t room) {
        return encode(&m->base, bytes, room);
}

ssize_t encode_packet(const Svmd__V1__Packet *m, void *bytes, size_t room) {
        return encode(&m->base, bytes, room);
}
