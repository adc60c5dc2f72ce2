#pragma once

#include "fuzz.h"
#include "proto/codec.h"

/* Messages of the protocol from bytes: numbers and names are what the target makes of them. */
struct filler {
        struct arena *arena; /* what is made lives there */
        uint64_t (*number)(struct bytes *b, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
        char *(*text)(struct bytes *b);
};

void *fill_take(const struct filler *fill, size_t size);
/* A message of a type, not filled yet. */
ProtobufCMessage *fill_new(const struct filler *fill, const ProtobufCMessageDescriptor *type);
/* Lists get up to 3 members; of a oneof, one member or none. */
void fill_message(const struct filler *fill, struct bytes *b, ProtobufCMessage *m);
