#include "cgroup/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { MAGIC = 0x67637673, ERRNO_MOST = 4095 };

struct head {
        uint32_t magic;
        uint16_t version, file;
        uint64_t device, inode;
};

_Static_assert(sizeof(struct head) <= CGROUP_WIRE_ROOM - CGROUP_WIRE_PATH - CGROUP_WIRE_LINE, "a packet has room");

size_t cgroup_wire_put(char to[CGROUP_WIRE_ROOM], const struct cgroup_write *w) {
        const struct head h = { MAGIC, CGROUP_WIRE_VERSION, (uint16_t)w->file, w->device, w->inode };
        size_t path = strlen(w->path) + 1, line = strlen(w->line) + 1;

        if (path > CGROUP_WIRE_PATH || line > CGROUP_WIRE_LINE)
                return 0;
        memcpy(to, &h, sizeof(h));
        memcpy(to + sizeof(h), w->path, path);
        memcpy(to + sizeof(h) + path, w->line, line);
        return sizeof(h) + path + line;
}

/* From the root down, each part a name. The root has no limits. */
static bool is_path(const char *path) {
        const char *at = path;

        while (*at == '/') {
                size_t n = strcspn(++at, "/");

                if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && memcmp(at, "..", 2) == 0))
                        return false;
                at += n;
        }
        return at > path && !*at;
}

/* The kernel takes more: several lines, and suffixes. */
static bool is_line(const char *line) {
        const char *at = line;

        while (*at > ' ' && *at <= '~')
                at++;
        if (at == line || *at++ != ' ')
                return false;
        if (strcmp(at, "max\n") == 0)
                return true;
        line = at;
        while (*at >= '0' && *at <= '9')
                at++;
        return at > line && strcmp(at, "\n") == 0;
}

int cgroup_wire_get(const char *packet, size_t size, struct cgroup_write *ret) {
        const char *path = packet + sizeof(struct head), *end = packet + size, *line, *last;
        struct head h;

        if (size < sizeof(h))
                return -EBADMSG;
        memcpy(&h, packet, sizeof(h));
        if (h.magic != MAGIC)
                return -EBADMSG;
        if (h.version != CGROUP_WIRE_VERSION)
                return -EPROTONOSUPPORT;
        line = memchr(path, 0, (size_t)(end - path));
        last = line ? memchr(line + 1, 0, (size_t)(end - line - 1)) : NULL;
        if (!last || last + 1 != end)
                return -EBADMSG;
        line++;
        if (line - path > CGROUP_WIRE_PATH || end - line > CGROUP_WIRE_LINE)
                return -EMSGSIZE;
        if (h.file >= DMEM_VALUES || !is_path(path) || !is_line(line))
                return -EINVAL;
        *ret = (struct cgroup_write){
                .device = h.device, .inode = h.inode, .file = (enum dmem_value)h.file, .path = path, .line = line
        };
        return 0;
}

struct cgroup_answer cgroup_wire_answer(int error) {
        return (struct cgroup_answer){ MAGIC, error };
}

int cgroup_wire_answered(const char *packet, size_t size) {
        struct cgroup_answer a;

        if (size != sizeof(a))
                return -EBADMSG;
        memcpy(&a, packet, sizeof(a));
        return a.magic == MAGIC && a.error <= 0 && a.error >= -ERRNO_MOST ? a.error : -EBADMSG;
}
