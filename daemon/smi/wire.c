#include "smi/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { MAGIC = 0x696d7373, ERRNO_MOST = 4095 };

struct head {
        uint32_t magic;
        uint16_t version, pad;
        int32_t error;
        uint32_t count;
};

_Static_assert(sizeof(struct head) + 4 * SMI_STREAMS_MAX == SMI_WIRE_ROOM, "a packet has room");

size_t smi_wire_put(char to[SMI_WIRE_ROOM], const struct smi_answer *a) {
        const struct head h = { MAGIC, SMI_WIRE_VERSION, 0, a->error, a->count };

        memcpy(to, &h, sizeof(h));
        memcpy(to + sizeof(h), a->gpus, a->count * sizeof(a->gpus[0]));
        return sizeof(h) + a->count * sizeof(a->gpus[0]);
}

/* 0 is the host, for the driver. */
static bool is_list(const uint32_t *gpus, uint32_t count) {
        for (uint32_t i = 0; i < count; i++) {
                if (gpus[i] == 0)
                        return false;
                for (uint32_t k = 0; k < i; k++)
                        if (gpus[k] == gpus[i])
                                return false;
        }
        return true;
}

int smi_wire_get(const char *packet, size_t size, unsigned fds, struct smi_answer *ret) {
        struct smi_answer a = { .error = 0 };
        struct head h;

        if (size < sizeof(h))
                return -EBADMSG;
        memcpy(&h, packet, sizeof(h));
        if (h.magic != MAGIC)
                return -EBADMSG;
        if (h.version != SMI_WIRE_VERSION)
                return -EPROTONOSUPPORT;
        if (h.count > SMI_STREAMS_MAX || h.count != fds || size != sizeof(h) + h.count * sizeof(a.gpus[0]) ||
            h.error > 0 || h.error < -ERRNO_MOST)
                return -EBADMSG;
        a.error = h.error;
        a.count = h.count;
        memcpy(a.gpus, packet + sizeof(h), h.count * sizeof(a.gpus[0]));
        if (!is_list(a.gpus, a.count))
                return -EBADMSG;
        *ret = a;
        return 0;
}
