#pragma once

#include <stdbool.h>

#include "keeper/wire.h"

/* One message with its descriptors on a socket of the keeper; both sides use it. */

/* Starts a message without keys. */
void packet_init(struct keeper_message *m, enum keeper_type type, uint64_t value);

/* Sends `m` and `fds_count` descriptors, never waiting. -EAGAIN, -ETOOMANYREFS: later. -EPIPE, -ECONNRESET: the other
 * side is gone. */
int keeper_packet_send(int socket, const struct keeper_message *m, const int *fds, unsigned fds_count);

enum {
        _PACKET_E_OK,
        PACKET_E_END,       /* the other side closed */
        PACKET_E_MALFORMED, /* not a message of this protocol; its descriptors are closed */
};

struct packet {
        struct keeper_message message;
        int fds[KEEPER_BATCH];
        unsigned fds_count;
        bool fds_lost; /* descriptors came that this process had no room for */
};

/* Receives one message, never waiting: 0, an outcome, or -EAGAIN and the like. What was queued before the other side
 * closed is handed over before the end. On 0 the descriptors are the caller's; head.count matches the size, and the
 * version is the sender's to be judged. */
int packet_receive(int socket, struct packet *p);
void packet_close_fds(struct packet *p);

/* Where the keeper of this runtime directory listens. -ENAMETOOLONG. */
struct sockaddr_un;
int packet_address(struct sockaddr_un *ret, const char *runtime_dir);
