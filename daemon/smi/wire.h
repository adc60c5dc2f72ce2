#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What svmd-smi says to svmd, on a SOCK_SEQPACKET socket: one packet to who connects, with the descriptors of the
 * streams that it names, in the same order. Nothing is asked. Pure; both sides are of one machine.
 */
#define SMI_SOCKET_NAME "smi.sock"

enum {
        SMI_WIRE_VERSION = 1,
        SMI_STREAMS_MAX = 128, /* the kernel lets one message have 253 descriptors */
        SMI_WIRE_ROOM = 16 + 4 * SMI_STREAMS_MAX,
};

struct smi_answer {
        int error;                      /* of the first GPU that has no stream here, or why there is none at all; 0 */
        uint32_t count;                 /* of streams */
        uint32_t gpus[SMI_STREAMS_MAX]; /* by the driver's ids, none twice */
};

/* Bytes of the packet. */
size_t smi_wire_put(char to[SMI_WIRE_ROOM], const struct smi_answer *a);
/* -EBADMSG: no packet of this protocol, or not with so many descriptors; -EPROTONOSUPPORT: of another version. */
int smi_wire_get(const char *packet, size_t size, unsigned fds, struct smi_answer *ret);
