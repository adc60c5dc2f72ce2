#include "fill.h"

#include <string.h>

#define LIST_MAX 4

void *fill_take(const struct filler *fill, size_t size) {
        void *p = arena_take(fill->arena, size);

        must(p);
        return memset(p, 0, size);
}

ProtobufCMessage *fill_new(const struct filler *fill, const ProtobufCMessageDescriptor *type) {
        ProtobufCMessage *m = fill_take(fill, type->sizeof_message);

        protobuf_c_message_init(type, m);
        return m;
}

static ProtobufCMessage *filled(const struct filler *fill, struct bytes *b, const ProtobufCMessageDescriptor *type) {
        ProtobufCMessage *m = fill_new(fill, type);

        fill_message(fill, b, m);
        return m;
}

static void fill_list(const struct filler *fill, struct bytes *b, ProtobufCMessage *m,
                      const ProtobufCFieldDescriptor *f) {
        size_t count = take_u8(b) % LIST_MAX;
        ProtobufCMessage **list = fill_take(fill, sizeof(*list) * LIST_MAX);

        for (size_t i = 0; i < count; i++)
                list[i] = filled(fill, b, f->descriptor);
        *(size_t *)((char *)m + f->quantifier_offset) = count;
        *(ProtobufCMessage ***)((char *)m + f->offset) = list;
}

static void fill_field(const struct filler *fill, struct bytes *b, ProtobufCMessage *m,
                       const ProtobufCFieldDescriptor *f) {
        void *at = (char *)m + f->offset;

        switch (f->type) {
        case PROTOBUF_C_TYPE_STRING: *(char **)at = fill->text(b); break;
        case PROTOBUF_C_TYPE_MESSAGE:
                if (f->label == PROTOBUF_C_LABEL_REPEATED)
                        fill_list(fill, b, m, f);
                else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || take_u8(b) % 4)
                        *(ProtobufCMessage **)at = filled(fill, b, f->descriptor);
                break;
        case PROTOBUF_C_TYPE_UINT64: *(uint64_t *)at = fill->number(b, m, f); break;
        case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)at = take_u8(b) & 1; break;
        default: *(uint32_t *)at = (uint32_t)fill->number(b, m, f);
        }
}

/* Messages of the protocol have one oneof at most. */
static void fill_oneof(const struct filler *fill, struct bytes *b, ProtobufCMessage *m, unsigned first) {
        const ProtobufCMessageDescriptor *d = m->descriptor;
        unsigned members[64], count = 0, chosen;

        for (unsigned i = first; i < d->n_fields; i++)
                if (d->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
                        members[count++] = i;
        chosen = take_u8(b) % (count + 1);
        if (chosen == count)
                return;
        fill_field(fill, b, m, &d->fields[members[chosen]]);
        *(uint32_t *)((char *)m + d->fields[first].quantifier_offset) = d->fields[members[chosen]].id;
}

void fill_message(const struct filler *fill, struct bytes *b, ProtobufCMessage *m) {
        const ProtobufCMessageDescriptor *d = m->descriptor;
        int one = 0;

        for (unsigned i = 0; i < d->n_fields; i++) {
                if (!(d->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                        fill_field(fill, b, m, &d->fields[i]);
                else if (!one++)
                        fill_oneof(fill, b, m, i);
        }
}
