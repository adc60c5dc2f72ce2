#pragma once

#include <stddef.h>
#include <stdint.h>

#include "account/dmem.h"

/*
 * What svmd and svmd-cgroup say to one another, on a SOCK_SEQPACKET socket: one packet a write, and one for the answer.
 * Pure; both sides are of one machine.
 *
 *      head, the group's path, NUL, the line, NUL ----> svmd-cgroup
 *                                            svmd <---- head, 0 or -errno
 *
 * The head says which folder svmd takes for the root, so that one who looks at an emulation cannot have the kernel's
 * groups written.
 */
#define CGROUP_SOCKET_NAME "cgroup.sock"

enum {
        CGROUP_WIRE_VERSION = 1,
        CGROUP_WIRE_PATH = 4096, /* bytes at most, with the NUL; the line as well */
        CGROUP_WIRE_LINE = 256,
        CGROUP_WIRE_ROOM = 32 + CGROUP_WIRE_PATH + CGROUP_WIRE_LINE,
};

struct cgroup_write {
        uint64_t device, inode; /* of svmd's root */
        enum dmem_value file;
        const char *path, *line;
};

struct cgroup_answer {
        uint32_t magic;
        int32_t error;
};

/* Bytes of the packet, or 0: the path or the line is too long for one. Judges nothing else. */
size_t cgroup_wire_put(char to[CGROUP_WIRE_ROOM], const struct cgroup_write *w);

/* The write that the packet is; its texts point into it. What it returns can be no other file than one of the three,
 * no path out of a root, and no other line than "REGION BYTES\n" or "REGION max\n".
 * -EBADMSG: no packet of this protocol; -EPROTONOSUPPORT: of another version; -EMSGSIZE: the path or the line is too
 * long; -EINVAL: the file, the path or the line is none that is written. */
int cgroup_wire_get(const char *packet, size_t size, struct cgroup_write *ret);

struct cgroup_answer cgroup_wire_answer(int error);
/* 0 or -errno that was answered; -EBADMSG: that is no answer. */
int cgroup_wire_answered(const char *packet, size_t size);
