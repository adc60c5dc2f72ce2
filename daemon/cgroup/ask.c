#include "cgroup/ask.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/connect.h"
#include "cgroup/wire.h"

/* What the errno of a step with the socket means. */
static int outcome(int error) {
        switch (error) {
        case EAGAIN:
        case EINPROGRESS:
        case EPIPE:
        case ECONNRESET: return CGROUP_E_SILENT;
        case ENOENT:
        case ECONNREFUSED: return CGROUP_E_NONE;
        default: return -error;
        }
}

static int talk(int fd, const char *packet, size_t size) {
        char answer[sizeof(struct cgroup_answer) + 1];
        ssize_t n = send(fd, packet, size, MSG_NOSIGNAL);

        if (n >= 0)
                n = recv(fd, answer, sizeof(answer), 0);
        if (n < 0)
                return outcome(errno);
        return n == 0 ? CGROUP_E_SILENT : cgroup_wire_answered(answer, (size_t)n);
}

int cgroup_ask(const char *socket_path, const char *root, const char *group, enum dmem_value file, const char *line) {
        char packet[CGROUP_WIRE_ROOM];
        struct cgroup_write w = { .file = file, .path = group, .line = line };
        struct stat st;
        size_t size;
        int fd = -1, r;

        if (stat(root, &st) < 0)
                return -errno;
        w.device = st.st_dev;
        w.inode = st.st_ino;
        size = cgroup_wire_put(packet, &w);
        if (!size)
                return -ENAMETOOLONG;
        r = connect_packets(socket_path, 1000, &fd);
        if (r < 0)
                return outcome(-r);
        r = talk(fd, packet, size);
        close(fd);
        return r;
}
