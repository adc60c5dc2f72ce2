#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "transport/internal.h"

/* Identity is what the kernel says of the process that connected, never what it says of itself. */

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

static int read_groups(int fd, uint32_t **ret, uint32_t *ret_count) {
        socklen_t size = 0;
        uint32_t *groups;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0)
                return 0;
        if (errno != ERANGE)
                return -errno;
        groups = alloc_zero(size);
        if (!groups)
                return -ENOMEM;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
                int r = -errno;

                alloc_free(groups);
                return r;
        }
        *ret = groups;
        *ret_count = size / sizeof(*groups);
        return 0;
}

int peer_read(int fd, struct service_peer *ret, uint32_t **ret_groups) {
        struct ucred cred = { 0 };
        socklen_t size = sizeof(cred);
        uint32_t *groups = NULL, count = 0;
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        r = read_groups(fd, &groups, &count);
        if (r < 0)
                return r;
        *ret = (struct service_peer){
                .pid = (uint32_t)cred.pid, .uid = cred.uid, .gid = cred.gid, .groups = groups, .groups_count = count
        };
        *ret_groups = groups;
        return 0;
}

bool peer_is_in(const struct service_peer *peer, gid_t gid) {
        if (gid == (gid_t)-1)
                return false;
        if (peer->gid == gid)
                return true;
        for (uint32_t i = 0; i < peer->groups_count; i++)
                if (peer->groups[i] == gid)
                        return true;
        return false;
}

bool peer_may_administer(const struct service_peer *peer, gid_t admin_gid) {
        return peer->uid == 0 || peer->uid == geteuid() || peer_is_in(peer, admin_gid);
}

/* By number: it may be another process's by now, which is of the same user then or is let be. */
static int pidfd_by_number(int fd) {
        struct ucred cred = { 0 };
        socklen_t size = sizeof(cred);
        struct stat status;
        char path[64];
        int pidfd;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
        if (pidfd < 0)
                return -errno;
        snprintf(path, sizeof(path), "/proc/%d", (int)cred.pid);
        if (stat(path, &status) == 0 && status.st_uid == cred.uid)
                return pidfd;
        close(pidfd);
        return -ESRCH;
}

int peer_kill(int fd) {
        socklen_t size = sizeof(int);
        int pidfd, r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
                pidfd = errno == ENOPROTOOPT ? pidfd_by_number(fd) : -errno;
        if (pidfd < 0)
                return pidfd;
        r = syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
        close(pidfd);
        return r;
}
