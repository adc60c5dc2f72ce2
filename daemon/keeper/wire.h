#pragma once

#include <stdint.h>

/*
 * What svmd and svmd-keeper say to one another over RUNTIME_DIR/keeper.sock (SOCK_SEQPACKET, same machine, native byte
 * order). The keeper outlives an upgrade of svmd, so a message that exists never changes; a new version adds.
 *
 *      keeper                               svmd
 *      HELLO  value: pid                            the first message on a connection
 *      BUSY   value: pid of the svmd that is connected    instead of HELLO; the connection ends
 *      REFUSED                                            instead of HELLO: wrong user; the connection ends
 *                                   PUT     keys, and as many descriptors: replaces what a key held
 *                                   DROP    keys: closes what they held
 *                                   ROOM    asks how many more descriptors fit
 *      ROOM   value: that many
 *                                   LIST    asks for everything
 *      ITEMS  keys, and as many descriptors               any number of times
 *      END    value: how many there were
 *                                   QUIT    closes everything and ends; the connection ends with it
 * since version 2:
 *                                   BECOME  a descriptor, no key: the program to go on as
 *      BECAME value: pid; the version is the new one      it has everything, and this connection
 *      FAILED value: errno                                instead: nothing has changed
 *
 * PUT, DROP and QUIT have no answer. A message of a wrong size, type or number of descriptors ends the connection and
 * nothing else.
 */
#define KEEPER_MAGIC       0x6b76 /* "vk" */
#define KEEPER_VERSION     2
#define KEEPER_OLDEST      1   /* what svmd can do with */
#define KEEPER_BATCH       64  /* descriptors in a message */
#define KEEPER_DROPS       512 /* keys in a DROP */
#define KEEPER_SOCKET_NAME "keeper.sock"

enum keeper_type {
        KEEPER_HELLO = 1,
        KEEPER_BUSY,
        KEEPER_REFUSED,
        KEEPER_PUT,
        KEEPER_DROP,
        KEEPER_ROOM,
        KEEPER_LIST,
        KEEPER_ITEMS,
        KEEPER_END,
        KEEPER_QUIT,
        KEEPER_BECOME,
        KEEPER_BECAME,
        KEEPER_FAILED,
};

struct keeper_head {
        uint16_t magic;
        uint16_t version; /* of whoever sends */
        uint16_t type;
        uint16_t count; /* of keys behind */
        uint64_t value; /* 0 where none is named above */
};

struct keeper_message {
        struct keeper_head head;
        uint64_t key[KEEPER_DROPS];
};

static inline uint64_t keeper_message_size(const struct keeper_head *h) {
        return sizeof(*h) + h->count * sizeof(uint64_t);
}
