#include "cgroup/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

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

/* 0, an outcome or -errno. */
static int open_socket(const char *path, int *ret) {
        const struct timeval second = { .tv_sec = 1 };
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        if (snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) >= (int)sizeof(a.sun_path))
                return -ENAMETOOLONG;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) < 0 ||
            connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
                int r = outcome(errno);

                close(fd);
                return r;
        }
        *ret = fd;
        return 0;
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
        r = open_socket(socket_path, &fd);
        if (r != 0)
                return r;
        r = talk(fd, packet, size);
        close(fd);
        return r;
}
